// What a client can do, one line of JSON each: {"capability": "produce gzip", "ok": true}, or with "ok": false and "error".
// CAPABILITY=text in the environment: only those whose names begin so.
'use strict'
const assert = require('node:assert/strict')
const { randomBytes } = require('node:crypto')

const LIMIT_MS = 60_000
const names = []

/** Runs the body at once; where it throws, or does not come back, the capability has failed. */
async function capability (name, body) {
  names.push(name)
  if (!name.startsWith(process.env.CAPABILITY ?? '')) return
  const line = { capability: name, ok: true }
  const began = Date.now()
  let timer
  const late = new Promise((resolve, reject) => { timer = setTimeout(() => reject(new Error(`no answer in ${LIMIT_MS} ms`)), LIMIT_MS) })
  try {
    await Promise.race([body(), late])
  } catch (error) {
    console.error(error)
    line.ok = false
    line.error = String(error?.message ?? error)
  } finally {
    clearTimeout(timer)
  }
  console.error(`${((Date.now() - began) / 1000).toFixed(2).padStart(6)} s ${name}`)
  console.log(JSON.stringify(line))
}

/** The list is complete: each of the methods has a capability "AREA method ...", or asks the broker nothing and is left out. */
async function allPublicCalls (area, methods, leavingOut) {
  const tried = new Set(names.filter(name => name.startsWith(area + ' ')).map(name => name.split(' ')[1]))
  const missing = methods.filter(method => !tried.has(method) && !leavingOut.includes(method))
  await capability(area + ': every public call is tried', async () => assert.deepEqual(missing, []))
}

/** A name that no other program takes that uses the same broker. */
const unique = name => `${name}-${randomBytes(4).toString('hex')}`

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))

/** Asks again until it is so. */
async function until (what, condition) {
  const deadline = Date.now() + LIMIT_MS / 2
  while (!await condition()) {
    if (Date.now() > deadline) throw new Error(`not in ${LIMIT_MS / 2} ms: ${what}`)
    await sleep(20)
  }
}

module.exports = { allPublicCalls, assert, capability, sleep, unique, until }
