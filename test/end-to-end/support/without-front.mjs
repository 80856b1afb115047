// For `--import`, before a daemon: Node.js without the reading into a shared buffer that the front needs, as a version may be that has
// it no longer. Every connection is the back's then.
import process from 'node:process';

for (const [binding, name] of [
  ['pipe_wrap', 'Pipe'],
  ['tcp_wrap', 'TCP'],
]) {
  const { prototype } = process.binding(binding)[name];
  for (let at = prototype; at !== null; at = Object.getPrototypeOf(at)) delete at.useUserBuffer;
  if (prototype.useUserBuffer === undefined) process.stderr.write(`${name} has no useUserBuffer\n`);
}
