declare module 'dynalite' {
  import type { Server } from 'node:http';
  /** DynamoDB in this process; persists to `path`. The delays simulate the service's table operations. */
  export default function dynalite(options: { path?: string; createTableMs?: number }): Server;
}
