// Logs in, sends records for some seconds, and reads one back: BOOTSTRAP MECHANISM USER PASSWORD TOPIC SECONDS.

const { Kafka, logLevel } = require('kafkajs')

const [bootstrap, mechanism, username, password, topic, seconds] = process.argv.slice(2)
const kafka = new Kafka({
  brokers: [bootstrap],
  // It would log in again with every request: its usual threshold is longer than a log-in holds here.
  reauthenticationThreshold: 500,
  sasl: { mechanism: mechanism.toLowerCase(), username, password },
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
