import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { decode } from 'cborg';
import { packagePath } from '../../local/package-root.ts';

let sockets = 0;

/** A server on a Unix socket in `folder`, with the path of it; each connection is handed to `serve`. */
export async function unixServer(
  folder: string,
  serve: (socket: Socket) => void,
): Promise<{ path: string; server: Server }> {
  const path = join(folder, `s${process.pid}-${++sockets}`);
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    serve(socket);
  }).listen(path);
  await once(server, 'listening');
  return { path, server };
}

/** Two ends of one connection, as an enclave and its module have them. */
export async function socketPair(folder: string): Promise<[Socket, Socket]> {
  let far: Socket | undefined;
  const { path, server } = await unixServer(folder, (socket) => {
    far = socket;
  });
  const arrived = once(server, 'connection');
  const near = connect(path);
  await arrived;
  server.close();
  return [near, far as unknown as Socket];
}

/**
 * The helper, and what stands for the device in it, compiled into `folder` and started by the script whose path this
 * is.
 */
export function shimmedHelper(folder: string): (environment: Record<string, string>) => string {
  const helper = join(folder, 'nsm-helper');
  const shim = join(folder, 'nsm-shim.so');
  const stdio = ['ignore', 'ignore', 'inherit'] as ['ignore', 'ignore', 'inherit'];
  const build = packagePath('scripts', 'build-enclave-programs.mjs');
  execFileSync(process.execPath, [build, '--only', 'nsm-helper', '--dynamic', '--out', folder], { stdio });
  const flags = ['-std=gnu11', '-Wall', '-Wextra', '-Werror', '-shared', '-fPIC'];
  execFileSync('gcc', [...flags, '-o', shim, packagePath('test', 'harness', 'nsm-shim.c')], { stdio });
  let scripts = 0;
  return (environment) => {
    const script = join(folder, `helper-${++scripts}`);
    const settings = Object.entries({ ...environment, LD_PRELOAD: shim }).map(
      ([name, value]) => `export ${name}='${value}'`,
    );
    writeFileSync(script, ['#!/bin/sh', ...settings, `exec '${helper}'`, ''].join('\n'));
    chmodSync(script, 0o700);
    return script;
  };
}

/** What is in a document, by cborg alone. */
export function decodeDocument(document: Uint8Array) {
  const [protectedHeader, unprotectedHeader, payload, signature] = decode(document, { useMaps: true }) as [
    Uint8Array,
    Map<unknown, unknown>,
    Uint8Array,
    Uint8Array,
  ];
  const fields = decode(payload, { useMaps: true, strict: true, rejectDuplicateMapKeys: true }) as Map<string, unknown>;
  return {
    protectedHeader,
    unprotectedHeader,
    payload,
    signature,
    fields,
    pcrs: fields.get('pcrs') as Map<number, Uint8Array>,
    certificates: [...(fields.get('cabundle') as Uint8Array[]), fields.get('certificate') as Uint8Array],
  };
}
