// For the tests across clients; usage: as that of confluent-kafka.
'use strict'
const { Kafka, logLevel, CompressionTypes, CompressionCodecs } = require('kafkajs')
CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy')

const [what, bootstrap, ...rest] = process.argv.slice(2)
const kafka = new Kafka({ brokers: bootstrap.split(','), logLevel: logLevel.ERROR })
const RECORDS = [
  { key: null, value: 'a null key' },
  { key: '', value: 'an empty key' },
  { key: 'key', value: null },
  { key: 'key', value: '' },
  { key: 'k\u00e9y', value: 'headers '.repeat(20), headers: { a: ['1', '2'], empty: '' } },
]
const digits = value => value === null ? 'null' : `x${value.toString('hex')}`

async function main () {
  if (what === 'write') {
    const [prefix, base] = rest
    const producer = kafka.producer()
    await producer.connect()
    const messages = RECORDS.map((record, index) => ({ ...record, partition: 0, timestamp: String(Number(base) + index) }))
    for (const [codec, compression] of [['none', CompressionTypes.None], ['gzip', CompressionTypes.GZIP], ['snappy', CompressionTypes.Snappy]]) {
      await producer.send({ topic: `${prefix}-${codec}`, messages, compression })
    }
    await producer.disconnect()
  } else {
    const consumer = kafka.consumer({ groupId: `across-${process.pid}` })
    await consumer.connect()
    await consumer.subscribe({ topics: rest, fromBeginning: true })
    let left = rest.length * RECORDS.length
    await new Promise(resolve => consumer.run({
      autoCommit: false,
      eachMessage: async ({ topic, message: { offset, timestamp, key, value, headers } }) => {
        const all = Object.entries(headers).flatMap(([name, values]) => [values].flat().map(value => `${name}=${digits(value)}`))
        console.log(topic, offset, timestamp, digits(key), digits(value), `[${all.join(',')}]`)
        if (--left === 0) resolve()
      },
    }))
    await consumer.disconnect()
  }
  console.log('end')
}

main().catch(error => { console.error(error); process.exit(1) })
