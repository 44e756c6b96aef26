import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';

export interface Nginx {
  version: string;
  /** With `proxy_buffering on` and off: which is faster depends on the size. */
  ports: { buffered: number; unbuffered: number };
  /** CPU time of its one worker so far. */
  cpuMicros(): Promise<number>;
  close(): Promise<void>;
}

/** Where nginx is, if it is installed. */
export function findNginx(): string | undefined {
  const folders = [...(process.env.PATH ?? '').split(':'), '/usr/sbin'];
  return folders.map((folder) => path.join(folder, 'nginx')).find((file) => existsSync(file));
}

const startTimeoutMs = 10_000;

/** Starts nginx as a proxy before the origin: one worker, keep-alive on both sides, no log, no temporary files. */
export async function startNginx(program: string, originPort: number): Promise<Nginx> {
  const folder = await mkdtemp(path.join(tmpdir(), 'qalgate-bench-'));
  const [buffered = 0, unbuffered = 0] = await freePorts(2);
  const file = path.join(folder, 'nginx.conf');
  await writeFile(file, configuration(folder, originPort, { buffered, unbuffered }));
  const child = spawn(program, ['-p', folder, '-c', file, '-e', 'stderr'], { stdio: ['ignore', 'inherit', 'inherit'] });
  const ended = once(child, 'exit');
  // Unlike Node's children it has no channel whose end it would notice.
  process.once('exit', () => child.kill('SIGTERM'));
  const failed = ended.then(() => {
    throw new Error('nginx ended at its start');
  });
  await Promise.race([Promise.all([accepts(buffered), accepts(unbuffered)]), failed]);
  const children = await readFile(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8');
  const worker = children.trim();
  return {
    version: await versionOf(program),
    ports: { buffered, unbuffered },
    async cpuMicros() {
      // Nanoseconds on a CPU, so that a short round is measured as exactly as the others.
      const [nanos] = (await readFile(`/proc/${worker}/schedstat`, 'utf8')).split(' ');
      return Number(nanos) / 1_000;
    },
    async close() {
      child.kill('SIGTERM');
      await ended;
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function configuration(folder: string, originPort: number, ports: { buffered: number; unbuffered: number }): string {
  const server = (port: number, lines: string) => `
    server {
      listen 127.0.0.1:${port};
      location / { proxy_pass http://origin; ${lines} }
    }`;
  // Without `user root` a worker of a master that is root loses its rights to the temporary folders.
  return `${process.getuid?.() === 0 ? 'user root;' : ''}
  daemon off; worker_processes 1; pid ${folder}/pid; error_log stderr error;
  events { worker_connections 1024; }
  http {
    access_log off; server_tokens off; tcp_nodelay on;
    keepalive_timeout 75s; keepalive_requests 1000000000;
    ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${folder}/${name};`).join(' ')}
    upstream origin { server 127.0.0.1:${originPort}; keepalive 256; keepalive_requests 1000000000; }
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_max_temp_file_size 0; proxy_buffers 8 64k; proxy_busy_buffers_size 256k;
    ${server(ports.buffered, 'proxy_buffering on; proxy_buffer_size 16k;')}
    ${server(ports.unbuffered, 'proxy_buffering off; proxy_buffer_size 64k;')}
  }
`;
}

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  for (const server of servers) server.close();
  return ports;
}

async function accepts(port: number): Promise<void> {
  const deadline = performance.now() + startTimeoutMs;
  for (;;) {
    const socket = connect(port, '127.0.0.1');
    const open = await once(socket, 'connect').then(
      () => true,
      () => false,
    );
    socket.destroy();
    if (open) return;
    if (performance.now() > deadline) throw new Error(`nginx does not listen after ${startTimeoutMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function versionOf(program: string): Promise<string> {
  const child = spawn(program, ['-v'], { stdio: ['ignore', 'ignore', 'pipe'] });
  let text = '';
  child.stderr.on('data', (chunk) => {
    text += String(chunk);
  });
  await once(child, 'close');
  return /nginx\/([0-9.]+)/.exec(text)?.[1] ?? 'of unknown version';
}
