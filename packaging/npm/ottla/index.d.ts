export interface BrokerOptions {
  /** Kafka's server properties. */
  config?: Record<string, string | number | boolean>;
  /** Further arguments of the command line. */
  args?: string[];
  /** How long it may take until it serves; 30,000. */
  timeoutMs?: number;
}

export interface Broker {
  /** Where clients connect: `host:port`. */
  readonly bootstrap: string;
  /** The same as kafkajs wants it. */
  readonly brokers: string[];
  readonly pid: number;
  /** The end of what it has logged. */
  log(): string;
  /** Stops it and removes its data. */
  stop(): Promise<void>;
}

/** Starts a broker and waits until it serves. */
export function startBroker(options?: BrokerOptions): Promise<Broker>;

/** The path of the broker's program. */
export function binary(): string;
