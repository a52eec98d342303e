// The signals that the service heeds: SIGTERM and SIGINT end it, SIGHUP has the API keys read anew.

/** Whether and when the process is to end. */
export interface StopRequest {
  /** Settles with the first signal's name. */
  readonly requested: Promise<string>;
  dispose(): void;
}

/** Listens for SIGTERM and SIGINT. As PID 1 a process without a listener never sees SIGTERM at all. */
export function listenForStop(): StopRequest {
  const { promise, resolve } = Promise.withResolvers<string>();
  const signals = ["SIGTERM", "SIGINT"] as const;
  const listeners = signals.map((signal) => [signal, () => resolve(signal)] as const);
  for (const [signal, listener] of listeners) Deno.addSignalListener(signal, listener);
  return {
    requested: promise,
    dispose() {
      for (const [signal, listener] of listeners) Deno.removeSignalListener(signal, listener);
    },
  };
}

/** Hangups of the process. */
export interface Hangups {
  /** Runs something on each SIGHUP from now on, and at once when one has come before. */
  onEach(run: () => void): void;
  dispose(): void;
}

/** Listens for SIGHUP, which would end a process without a listener. */
export function listenForHangups(): Hangups {
  let hasCome = false;
  let run = () => {
    hasCome = true;
  };
  const listener = () => run();
  Deno.addSignalListener("SIGHUP", listener);
  return {
    onEach(wanted) {
      run = wanted;
      if (hasCome) run();
    },
    dispose: () => Deno.removeSignalListener("SIGHUP", listener),
  };
}
