// Says how long a duration is in milliseconds.
const ms = require('ms');

exports.handler = async (event) => ({ milliseconds: ms(event.duration) });
