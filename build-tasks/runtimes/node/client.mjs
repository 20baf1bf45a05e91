// The Runtime API over HTTP/1.1: one connection, kept alive, no timeouts.

import http from 'node:http';

import { toPayload } from './errors.mjs';

const PREFIX = '/2018-06-01/runtime';
const ERROR_TYPE = 'Lambda-Runtime-Function-Error-Type';
const ERROR_BODY = 'Lambda-Runtime-Function-Error-Body';

export class RuntimeApi {
  #host;
  #port;
  #agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

  constructor(address) {
    const parts = (address ?? '').split(':');
    if (parts.length !== 2) throw new Error(`AWS_LAMBDA_RUNTIME_API is not host:port: ${address}`);
    [this.#host, this.#port] = parts;
  }

  // The next event: its headers and its text.
  async next() {
    const { status, headers, body } = await this.#exchange('GET', '/invocation/next');
    if (status !== 200) throw new Error(`the Runtime API answered ${status} to next: ${body}`);
    return { headers, body };
  }

  async respond(id, text) {
    await this.#post(`/invocation/${id}/response`, text);
  }

  async fail(id, error) {
    const payload = toPayload(error);
    await this.#post(`/invocation/${id}/error`, JSON.stringify(payload), errorHeaders(payload));
  }

  async failInit(error) {
    const payload = toPayload(error);
    await this.#post('/init/error', JSON.stringify(payload), errorHeaders(payload));
  }

  // Opens a streaming response. Its end takes an optional error, which travels in the trailers.
  openStream(id, contentType) {
    const request = this.#request('POST', `/invocation/${id}/response`, {
      'Content-Type': contentType,
      'Lambda-Runtime-Function-Response-Mode': 'streaming',
      'Transfer-Encoding': 'chunked',
      Trailer: [ERROR_TYPE, ERROR_BODY],
    });
    const done = answered(request);
    return {
      write: (chunk, callback) => request.write(chunk, callback),
      async end(error) {
        if (error !== undefined) request.addTrailers(trailersOf(error));
        request.end();
        await done;
      },
    };
  }

  async #post(path, text, headers = {}) {
    const body = Buffer.from(text);
    await this.#exchange('POST', path, body, {
      'Content-Type': 'application/json',
      'Content-Length': body.length,
      ...headers,
    });
  }

  async #exchange(method, path, body, headers) {
    const request = this.#request(method, path, headers);
    const answer = answered(request);
    request.end(body);
    return answer;
  }

  #request(method, path, headers) {
    const request = http.request({
      agent: this.#agent,
      host: this.#host,
      port: this.#port,
      method,
      path: PREFIX + path,
      headers,
    });
    request.setNoDelay(true);
    return request;
  }
}

function answered(request) {
  return new Promise((resolve, reject) => {
    request.on('error', reject);
    request.on('response', (response) => {
      const chunks = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const body = Buffer.concat(chunks).toString('utf8');
        resolve({ status: response.statusCode, headers: response.headers, body });
      });
    });
  });
}

// Header values are visible ASCII; a name somebody made up may not be.
function headerText(text) {
  return String(text).replace(/[^\x20-\x7e]/g, '?').slice(0, 1024);
}

function errorHeaders(payload) {
  return payload.errorType ? { [ERROR_TYPE]: headerText(payload.errorType) } : {};
}

function trailersOf(error) {
  const payload = toPayload(error);
  return {
    [ERROR_TYPE]: headerText(payload.errorType ?? 'Error'),
    [ERROR_BODY]: Buffer.from(JSON.stringify(payload)).toString('base64'),
  };
}
