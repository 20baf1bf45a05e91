// Errors of the platform, and the form in which errors are reported: { errorType, errorMessage, trace }.

import { types } from 'node:util';

class RuntimeError extends Error {
  constructor(name, reason) {
    super(reason);
    this.name = `Runtime.${name}`;
  }
}

export class ImportModuleError extends RuntimeError {
  constructor(cause) {
    super('ImportModuleError', String(cause));
    keepStack(this, cause);
  }
}

export class UserCodeSyntaxError extends RuntimeError {
  constructor(cause) {
    super('UserCodeSyntaxError', String(cause));
    keepStack(this, cause);
  }
}

export class HandlerNotFound extends RuntimeError {
  constructor(reason) {
    super('HandlerNotFound', reason);
  }
}

export class MalformedHandlerName extends RuntimeError {
  constructor(reason) {
    super('MalformedHandlerName', reason);
  }
}

export class MalformedStreamingHandler extends RuntimeError {
  constructor(reason) {
    super('MalformedStreamingHandler', reason);
  }
}

export class InvalidStreamingOperation extends RuntimeError {
  constructor(reason) {
    super('InvalidStreamingOperation', reason);
  }
}

export class NodeJsExit extends RuntimeError {
  constructor() {
    super(
      'NodeJsExit',
      'The Lambda runtime client detected an unexpected Node.js exit code. This is most commonly caused by a Promise that was never settled.',
    );
  }
}

export class UnhandledPromiseRejection extends RuntimeError {
  constructor(message, reason, promise) {
    super('UnhandledPromiseRejection', message);
    this.reason = reason;
    this.promise = promise;
  }
}

// The stack that leads to the user's own line, under our name.
function keepStack(error, cause) {
  if (!isError(cause) || !cause.stack) return;
  const frames = cause.stack.split('\n').filter((line) => line.startsWith('    at '));
  error.stack = [`${error.name}: ${error.message}`, ...frames].join('\n');
}

function isError(value) {
  return types.isNativeError(value) || (value && value.name && value.message && value.stack);
}

// What the Runtime API gets. DEL is not allowed where this text ends up.
export function toPayload(error) {
  try {
    if (isError(error)) {
      const clean = (text) => text?.replaceAll('\x7F', '%7F');
      return {
        errorType: clean(error.name),
        errorMessage: clean(error.message),
        trace: clean(error.stack)?.split('\n') ?? [],
      };
    }
    return { errorType: typeof error, errorMessage: String(error), trace: [] };
  } catch {
    return {
      errorType: 'handled',
      errorMessage:
        'callback called with Error argument, but there was a problem while retrieving one or more of its message, name, and stack',
      trace: [],
    };
  }
}

// The same for the log, with whatever else the error carries.
export function describe(error) {
  try {
    return `\t${JSON.stringify(error, (_key, value) => (isError(value) ? withEnumerableProperties(value) : value))}`;
  } catch {
    return `\t${JSON.stringify(toPayload(error))}`;
  }
}

function withEnumerableProperties(error) {
  const { name, message, code, stack } = error;
  return { errorType: name, errorMessage: message, code, ...error, stack: String(stack).split('\n') };
}
