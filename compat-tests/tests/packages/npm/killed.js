'use strict';
const { startBroker } = require('ottla');

startBroker().then((broker) => {
  require('node:fs').writeSync(1, `${broker.pid}\n`);
  process.kill(process.pid, 'SIGKILL');
});
