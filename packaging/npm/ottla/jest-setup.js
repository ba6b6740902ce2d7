'use strict';
// globalSetup of Jest: a broker for the run. Tests have its address in OTTLA_BOOTSTRAP.
const { startBroker } = require('./index.js');

module.exports = async () => {
  globalThis.__OTTLA__ = await startBroker();
  process.env.OTTLA_BOOTSTRAP = globalThis.__OTTLA__.bootstrap;
};
