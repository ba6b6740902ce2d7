// Logs in, sends records for some seconds, and reads one back: BOOTSTRAP MECHANISM USER PASSWORD TOPIC SECONDS.
// With TLS_CA in the environment it encrypts, and shows TLS_CERT; mechanism NONE logs in with no more than that.

const fs = require('fs')
const { Kafka, logLevel } = require('kafkajs')

const [bootstrap, mechanism, username, password, topic, seconds] = process.argv.slice(2)
const { TLS_CA: authority, TLS_CERT: shown } = process.env
const file = path => (path ? fs.readFileSync(path) : undefined)
const kafka = new Kafka({
  brokers: bootstrap.split(','),
  ssl: authority ? { ca: file(authority), cert: file(shown), key: file(shown) } : undefined,
  sasl: mechanism === 'NONE' ? undefined : { mechanism: mechanism.toLowerCase(), username, password },
  // It would log in again with every request: its usual threshold is longer than a log-in holds here.
  reauthenticationThreshold: 500,
  logLevel: logLevel.NOTHING,
  retry: { retries: 2 },
})

const main = async () => {
  const producer = kafka.producer()
  await producer.connect()
  const until = Date.now() + 1000 * Number(seconds)
  do {
    await producer.send({ topic, messages: [{ value: 'value' }] })
    await new Promise(resolve => setTimeout(resolve, 300))
  } while (Date.now() < until)
  await producer.disconnect()
  const consumer = kafka.consumer({ groupId: 'kafkajs' })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  const value = await new Promise((resolve, reject) => {
    consumer.run({ eachMessage: async ({ message }) => resolve(message.value.toString()) }).catch(reject)
  })
  console.log('read', value)
  await consumer.disconnect()
}

main().catch(error => console.log('refused', String(error))).finally(() => process.exit(0))
