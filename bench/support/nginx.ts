import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type Caching, requestPath } from './exchange-bytes.ts';
import { freePorts, type Program, startProgram } from './program.ts';

export interface NginxOptions {
  file: string;
  originPort: number;
  /** For all servers. */
  http: string;
  /** A server for each, on a port of its own: how it goes from there to the origin. */
  locations: readonly string[];
  /** What it is asked to see whether it is ready. */
  caching: Caching;
  /** Removed at the end. */
  folders?: readonly string[];
}

export interface Nginx extends Program {
  /** As the locations. */
  ports: readonly number[];
}

export const nginxVersion = { arg: '-v', pattern: /nginx\/([0-9.]+)/ };

/** Starts nginx before the origin: one worker, whose CPU time counts; keep-alive on both sides, no log. */
export async function startNginx(options: NginxOptions): Promise<Nginx> {
  const { file, originPort, http, locations, caching, folders = [] } = options;
  const folder = await mkdtemp(path.join(tmpdir(), 'qalgate-bench-'));
  const ports = await freePorts(locations.length);
  const servers = locations.map(
    (lines, n) => `
    server {
      listen 127.0.0.1:${ports[n]};
      location / { proxy_pass http://origin; ${lines} }
    }`,
  );
  const configuration = path.join(folder, 'nginx.conf');
  // A worker of a master that is root has no right to its temporary folders and its cache without `user root`, and
  // caches nothing then.
  await writeFile(
    configuration,
    `${process.getuid?.() === 0 ? 'user root;' : ''}
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
    ${http}
    ${servers.join('')}
  }
`,
  );
  const program = await startProgram({
    file,
    args: ['-p', folder, '-c', configuration, '-e', 'stderr'],
    urls: ports.map((port) => `http://127.0.0.1:${port}${requestPath(caching, 1_024)}`),
    folders: [folder, ...folders],
    worker: /worker process/,
  });
  return { ...program, ports };
}
