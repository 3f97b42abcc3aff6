import type { Command } from 'commander';
import { LIMITS } from '../enclave-render/packaging/lint/limits.ts';
import { lint } from '../enclave-render/packaging/lint/lint.ts';
import { alignColumns, EXIT_NO, print } from './command.ts';

const {
  manifestBytes,
  manifestLines,
  uriCharacters,
  fetches,
  totalBytes,
  answerSeconds,
  totalSeconds,
  findings: mostFindings,
} = LIMITS;

const HELP = `
Follows a multivariant playlist to its media playlists, or reads an MPD, and says what would break below a token in the path, or
in players: absolute and root-relative URIs, keys that are missing, playlists half encrypted, segments that are too long. Keys are
fetched, and the first and last segment of each playlist. A URL leads to http and https only, a file to files of its folder; keys
of a packaged folder are looked up in its keys.json. Exit code 1 when there is an error; warnings alone are no error.

It ends with the finding limit-reached, and exit code 1, at a manifest of more than ${manifestBytes >> 20} MiB or ${manifestLines} lines,
after ${fetches} files, ${totalBytes >> 20} MiB, ${totalSeconds} s or ${mostFindings} findings. An answer may take ${answerSeconds} s, and a URI have ${uriCharacters} characters.

Examples:
  portcullis package lint titles/aurora/master.m3u8
  portcullis package lint "$URL" --json                a playback URL; the token is in no finding`;

/** Adds `lint` to the command `package`. */
export function registerLint(group: Command): void {
  group
    .command('lint')
    .description('check an HLS playlist or a DASH MPD, and what it refers to')
    .argument('<target>', 'URL or file')
    .option('--json', 'print JSON')
    .addHelpText('after', HELP)
    .action(async (target: string, { json }: { json?: true }) => {
      const report = await lint(target);
      const errors = report.findings.filter(({ severity }) => severity === 'error').length;
      const warnings = report.findings.length - errors;
      print(json, { ...report, errors, warnings }, [
        ...alignColumns(report.findings.map(({ severity, rule, where, detail }) => [severity, rule, where, detail])),
        ...[...new Map(report.findings.map(({ rule, words }) => [rule, words]))].map(
          ([rule, words]) => `${rule}: ${words}`,
        ),
        `${errors} errors, ${warnings} warnings; ${report.fetched} files looked at`,
      ]);
      if (errors > 0) process.exitCode = EXIT_NO;
    });
}
