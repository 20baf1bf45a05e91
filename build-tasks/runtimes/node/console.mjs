// `console` in AWS's text format (time, request id, level, message), or as JSON objects.

import { format } from 'node:util';

const LEVELS = { TRACE: 1, DEBUG: 2, INFO: 3, WARN: 4, ERROR: 5, FATAL: 6 };

let requestId;

export function setRequestId(id) {
  requestId = id;
}

export function patchConsole() {
  const json = process.env.AWS_LAMBDA_LOG_FORMAT?.toUpperCase() === 'JSON';
  const wanted = LEVELS[process.env.AWS_LAMBDA_LOG_LEVEL?.toUpperCase()] ?? LEVELS.TRACE;
  const lineOf = json ? jsonLine : textLine;
  const logger = (level) =>
    LEVELS[level] < wanted ? () => {} : (...parts) => process.stdout.write(lineOf(level, parts));
  console.trace = logger('TRACE');
  console.debug = logger('DEBUG');
  console.log = logger('INFO');
  console.info = logger('INFO');
  console.warn = logger('WARN');
  console.error = logger('ERROR');
  console.fatal = logger('FATAL');
}

// One record is one line: newlines inside become carriage returns, which do not split log events.
function textLine(level, parts) {
  const message = format(...parts).replaceAll('\n', '\r');
  return `${new Date().toISOString()}\t${requestId}\t${level}\t${message}\n`;
}

function jsonLine(level, parts) {
  const record = { timestamp: new Date().toISOString(), level, requestId };
  if (parts.length === 1 && parts[0] !== null && typeof parts[0] === 'object') {
    try {
      return `${JSON.stringify({ ...record, message: parts[0] }, errorsAsObjects)}\n`;
    } catch {
      // Cyclic: it is printed as text below.
    }
  }
  const error = parts.find((part) => part instanceof Error);
  const details = error && {
    errorType: error.name,
    errorMessage: error.message,
    stackTrace: String(error.stack).split('\n').slice(1),
  };
  return `${JSON.stringify({ ...record, message: format(...parts), ...details })}\n`;
}

function errorsAsObjects(_key, value) {
  if (!(value instanceof Error)) return value;
  const { name, message, stack } = value;
  return { errorType: name, errorMessage: message, stackTrace: String(stack).split('\n').slice(1) };
}
