// Response streaming: the global `awslambda`, and the stream that a streaming handler writes to.

import { Writable } from 'node:stream';

import { InvalidStreamingOperation } from './errors.mjs';

export const STREAMING = Symbol.for('aws.lambda.runtime.handler.streaming');
const HIGH_WATER_MARK = Symbol.for('aws.lambda.runtime.handler.streaming.highWaterMark');

const HTTP_INTEGRATION = 'application/vnd.awslambda.http-integration-response';
const DEFAULT_TYPE = 'application/octet-stream';

export function installGlobals() {
  globalThis.awslambda = {
    ...globalThis.awslambda,
    streamifyResponse(handler, options) {
      handler[STREAMING] = 'response';
      if (options?.highWaterMark !== undefined) handler[HIGH_WATER_MARK] = Number.parseInt(options.highWaterMark, 10);
      return handler;
    },
    HttpResponseStream: {
      // Sends status, headers and cookies ahead of the body: JSON, then eight zero bytes.
      from(stream, prelude) {
        stream.setContentType(HTTP_INTEGRATION);
        const text = JSON.stringify(prelude);
        stream._onBeforeFirstWrite = (write) => {
          write(text);
          write(new Uint8Array(8));
        };
        return stream;
      },
    },
  };
}

export function streamOptions(handler) {
  const highWaterMark = handler[HIGH_WATER_MARK];
  return highWaterMark === undefined ? {} : { highWaterMark };
}

// Opens the request when the first byte is written: until then the handler may still fail in the ordinary way.
export class ResponseStream extends Writable {
  #open;
  #upload;
  #contentType = DEFAULT_TYPE;
  // Called with a write function ahead of the first byte; `HttpResponseStream.from` sets it, and middlewares may.
  _onBeforeFirstWrite;

  constructor(open, options) {
    super(options);
    this.#open = open;
  }

  get started() {
    return this.#upload !== undefined;
  }

  setContentType(contentType) {
    if (this.started) throw new InvalidStreamingOperation('Cannot set content-type, too late.');
    this.#contentType = contentType;
  }

  // Ends the upload, with an error in the trailers if there is one.
  async close(error) {
    await this.#start().end(error);
  }

  _write(chunk, _encoding, callback) {
    this.#start().write(chunk, callback);
  }

  #start() {
    if (this.#upload === undefined) {
      this.#upload = this.#open(this.#contentType);
      this._onBeforeFirstWrite?.((chunk) => this.#upload.write(chunk));
    }
    return this.#upload;
  }
}
