import type { Command } from 'commander';

export function registerRevocation(program: Command): void {
  program.command('revocation').description('what is revoked: sessions, assets, subjects, sessions before a time');
}
