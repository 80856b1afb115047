/**
 * What is used of `node:http`, without what an `import` of it loads besides: Node.js reads every member of a module that is
 * imported, and those for browsers' programs (`WebSocket`) load a whole HTTP client, which is a tenth of a daemon's start.
 */

export const { createServer, STATUS_CODES } = process.getBuiltinModule('node:http');
