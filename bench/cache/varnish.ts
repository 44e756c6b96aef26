import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Peer } from '../support/contest.ts';
import { requestPath } from '../support/exchange-bytes.ts';
import { freePorts, startProgram, versionOf } from '../support/program.ts';
import type { StartEntrant } from './entrant.ts';

/** Varnish writes what it does into shared memory; these records it can do without. */
const unlogged = [
  ...['ReqStart', 'ReqMethod', 'ReqURL', 'ReqProtocol', 'ReqHeader', 'ReqUnset', 'ReqAcct'],
  ...['RespProtocol', 'RespStatus', 'RespReason', 'RespHeader', 'RespUnset'],
  ...['VCL_call', 'VCL_return', 'Timestamp', 'Hit', 'Link', 'Begin', 'End'],
];

const parameters = {
  'as installed': [],
  // A thread that stays with its connection for longer leaves fewer of them to epoll.
  'log kept short, threads linger': ['-p', `vsl_mask=-${unlogged.join(',-')}`, '-p', 'timeout_linger=0.5'],
};

export const startVarnishCache: StartEntrant = async (file, originPort, stack) => {
  const settings: Peer[] = [];
  for (const [name, own] of Object.entries(parameters)) {
    const folder = await mkdtemp(path.join(tmpdir(), 'qalgate-bench-'));
    const [port = 0] = await freePorts(1);
    const vcl = path.join(folder, 'origin.vcl');
    await writeFile(vcl, `vcl 4.1;\nbackend default { .host = "127.0.0.1"; .port = "${originPort}"; }\n`);
    const { cpuMicros, close } = await startProgram({
      file,
      args: [
        ...['-F', '-j', 'none', '-n', path.join(folder, 'work'), '-T', 'none'],
        ...['-a', `127.0.0.1:${port}`, '-f', vcl, '-s', 'malloc,64m', ...own],
        // As many threads as ever: one that ends takes the count of its CPU time along.
        ...['-p', 'thread_pools=1', '-p', 'thread_pool_min=100', '-p', 'thread_pool_max=100'],
      ],
      urls: [`http://127.0.0.1:${port}${requestPath('cacheable', 1_024)}`],
      folders: [folder],
      worker: /varnishd/,
      quiet: /^(Debug|Info|Child launched)/,
    });
    stack.defer(close);
    settings.push({ name, port, cpuMicros });
  }
  return { name: `Varnish ${await versionOf(file, '-V', /varnish-([0-9.]+)/)}`, settings };
};
