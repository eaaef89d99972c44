import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

const PROGRAM = `
const server = require('node:net').createServer();
server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => console.log(server.address().port));
`;
// More than the smallest backlog holds.
const WAITING = 8;

/**
 * An address whose connections never open, as behind a firewall that drops packets: the process that listens is
 * stopped and its backlog is full, so the kernel answers no SYN.
 */
export async function startMuteServer(): Promise<AsyncDisposable & { readonly url: string }> {
  const child = spawn(process.execPath, ['--eval', PROGRAM], { stdio: ['ignore', 'pipe', 'inherit'] });
  // The stream's type says `any`; without an encoding it is made of Buffers.
  const [chunk] = (await once(child.stdout, 'data', { signal: AbortSignal.timeout(10_000) })) as [Buffer];
  const port = Number(chunk.toString());
  child.kill('SIGSTOP');
  const sockets: Socket[] = [];
  const opened = Promise.withResolvers<void>();
  for (let count = 0; count < WAITING; count++) {
    const socket = connect({ port, host: '127.0.0.1' }, () => opened.resolve());
    socket.on('error', () => socket.destroy());
    sockets.push(socket);
  }
  await opened.promise;
  return {
    url: `http://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      const exited = once(child, 'exit');
      child.kill('SIGKILL');
      await exited;
    },
  };
}
