// globalSetup of Vitest: a broker for the run. Tests have its address as inject('ottlaBootstrap') and in OTTLA_BOOTSTRAP.
import ottla from './index.js';

let broker;

export async function setup(project) {
  broker = await ottla.startBroker();
  process.env.OTTLA_BOOTSTRAP = broker.bootstrap;
  project.provide('ottlaBootstrap', broker.bootstrap);
}

export async function teardown() {
  await broker?.stop();
}
