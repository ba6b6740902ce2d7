'use strict';
// globalTeardown of Jest.
module.exports = () => globalThis.__OTTLA__?.stop();
