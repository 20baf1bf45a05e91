// The loop: one event at a time, until the process ends.

import { setRequestId } from './console.mjs';
import { contextOf } from './context.mjs';
import { InvalidStreamingOperation, NodeJsExit, describe } from './errors.mjs';
import { ResponseStream, streamOptions } from './streaming.mjs';

export class Runtime {
  #api;
  #id;
  #stream;
  #initialised = false;

  constructor(api) {
    this.#api = api;
  }

  async run(handler, streaming) {
    for (;;) {
      this.#initialised = true;
      const { headers, body } = await this.#api.next();
      this.#id = headers['lambda-runtime-aws-request-id'];
      setRequestId(this.#id);
      setTrace(headers['lambda-runtime-trace-id']);
      await (streaming ? this.#invokeStreaming(handler, headers, body) : this.#invoke(handler, headers, body));
      this.#id = undefined;
    }
  }

  // Reports what nobody caught: as the running invoke's error, or as the init's.
  async report(error) {
    if (!this.#initialised) return this.#api.failInit(error);
    // Between two invokes there is nobody to tell, and the only connection waits for the next event.
    if (this.#id === undefined) return undefined;
    if (this.#stream?.started) return this.#stream.close(error);
    return this.#api.fail(this.#id, error);
  }

  async #invoke(handler, headers, body) {
    const outcome = await settle(handler, headers, body);
    if ('error' in outcome) {
      console.error('Invoke Error', describe(outcome.error));
      return this.#api.fail(this.#id, outcome.error);
    }
    let text;
    try {
      text = JSON.stringify(outcome.result === undefined ? null : outcome.result) ?? 'null';
    } catch (cause) {
      const error = new Error('Unable to stringify response body', { cause });
      console.error('Invoke Error', describe(error));
      return this.#api.fail(this.#id, error);
    }
    return this.#api.respond(this.#id, text);
  }

  async #invokeStreaming(handler, headers, body) {
    const stream = new ResponseStream((type) => this.#api.openStream(this.#id, type), streamOptions(handler));
    this.#stream = stream;
    try {
      await streamed(handler, stream, headers, body);
      await stream.close();
    } catch (error) {
      console.error('Invoke Error', describe(error));
      await this.report(error);
    } finally {
      this.#stream = undefined;
    }
  }
}

function setTrace(trace) {
  if (trace) process.env._X_AMZN_TRACE_ID = trace;
  else delete process.env._X_AMZN_TRACE_ID;
}

// Runs `listener` when nothing is left to do, until the returned function is called.
function whenIdle(listener) {
  process.once('beforeExit', listener);
  return () => process.removeListener('beforeExit', listener);
}

// Calls a buffered handler and waits for its outcome, whichever of the three styles it is written in: a promise,
// the callback, or the functions of the context.
function settle(handler, headers, body) {
  return new Promise((resolve) => {
    // A handler that just returns, and starts nothing that could still call back, is answered with null.
    let stopWaiting = whenIdle(() => setImmediate(succeed, null));
    let waitForEmptyEventLoop = true;
    const finish = (outcome) => {
      stopWaiting();
      resolve(outcome);
    };
    const fail = (error) => finish({ error: error ?? 'handled' });
    const succeed = (result) => finish({ result });
    const done = (error, result) => (error === undefined || error === null ? succeed(result) : fail(error));
    let calledBack = false;
    const callback = (error, result) => {
      calledBack = true;
      if ((error !== undefined && error !== null) || !waitForEmptyEventLoop) return done(error, result);
      stopWaiting();
      // The answer waits for whatever else the handler has started.
      stopWaiting = whenIdle(() => setImmediate(succeed, result));
    };
    try {
      const context = {
        get callbackWaitsForEmptyEventLoop() {
          return waitForEmptyEventLoop;
        },
        set callbackWaitsForEmptyEventLoop(value) {
          waitForEmptyEventLoop = value;
        },
        succeed,
        fail,
        done,
        ...contextOf(headers),
      };
      const result = handler(JSON.parse(body), context, callback);
      if (typeof result?.then === 'function') {
        // A promise that can never be settled is a mistake worth telling, unless the callback has been called.
        if (!calledBack) {
          stopWaiting();
          stopWaiting = whenIdle(() => fail(new NodeJsExit()));
        }
        result.then(succeed, fail);
      }
    } catch (error) {
      fail(error);
    }
  });
}

// Calls a streaming handler and waits until its stream is ended.
function streamed(handler, stream, headers, body) {
  return new Promise((resolve, reject) => {
    const stopWaiting = whenIdle(() => reject(new NodeJsExit()));
    const finish = (settle) => (value) => {
      stopWaiting();
      settle(value);
    };
    const finished = new Promise((ok, failed) => {
      stream.once('finish', ok);
      stream.once('error', failed);
    });
    const run = async () => {
      const context = { callbackWaitsForEmptyEventLoop: false, ...contextOf(headers) };
      const result = handler(JSON.parse(body), stream, context);
      if (typeof result?.then !== 'function') {
        throw new InvalidStreamingOperation('Streaming does not support non-async handlers.');
      }
      if ((await result) !== undefined) console.warn('Streaming handlers ignore return values.');
      await finished;
    };
    finished.catch(() => {});
    run().then(finish(resolve), finish(reject));
  });
}
