import type { Command } from 'commander';
import { loadAws } from '../config/aws.ts';
import { readConfiguration } from '../config/configuration.ts';
import type { DetectionSettings } from '../revocation/detect/settings.ts';
import { integer, report } from './command.ts';

const DEFAULT_PORT = 8080;
/** Where the state of a stack is kept unless told otherwise. */
export const DEFAULT_DATA = '.portcullis';

const EXAMPLES = `
Examples:
  portcullis up                              on ports 8080 (edge), 8081 (API), 8082 (console)
  portcullis up --port 0 --ephemeral         on any free ports, leaving nothing behind
  portcullis up --config portcullis.json     with settings of your own, for example in mode log
  portcullis up --port 0 --json 2>up.log     for scripts: one line of JSON when it is ready
  npm run -s up -- --port 0 --json           the same from a clone; without -s npm prints two lines of its own before`;

export function registerUp(program: Command): void {
  program
    .command('up')
    .description('run the delivery edge, the API, an origin and the console on this machine')
    .option(
      '--port <n>',
      'port of the edge; API and console take the next two; 0 for any',
      integer(0, 65533),
      DEFAULT_PORT,
    )
    .option('--data <dir>', 'where state is kept', DEFAULT_DATA)
    .option('--config <file>', 'configuration (docs/configuration.md); the defaults without')
    .option('--ephemeral', 'keep state in a temporary folder that is removed at the end')
    .option('--no-render', 'master the title as it was delivered, without rendering it in an enclave first')
    .option('--json', 'print one line of JSON when ready; everything else goes to stderr')
    .addHelpText('after', EXAMPLES)
    .action(async (options: UpOptions) => {
      // Only here: everything else of the command works without the packages that the stack needs.
      const { startStack } = await loadAws(() => import('../local/stack.ts'));
      const { edge: settings, keys, api, revocation, mastering } = await readConfiguration(options.config);
      // Until it is ready a signal ends it at once, as signals do; a killed start leaves nothing that the next one minds.
      const { close, ...places } = await startStack({
        data: options.ephemeral ? undefined : options.data,
        port: options.port,
        settings,
        keys,
        api,
        revocation,
        mastering,
        isRendered: options.render,
        report,
      });
      const ready = {
        ...places,
        detection: { mode: revocation.detection.mode },
        waf: { publish: revocation.waf.publish },
      };
      const ended = new Promise<NodeJS.Signals>((resolve) => {
        for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, resolve);
      });
      if (options.json) process.stdout.write(`${JSON.stringify({ ready: true, ...ready })}\n`);
      else process.stdout.write(welcome(ready));
      await ended;
      report('stopping');
      await close();
    });
}

interface UpOptions {
  port: number;
  data: string;
  config?: string;
  ephemeral?: boolean;
  render: boolean;
  json?: boolean;
}

/** What becomes of sessions that leak, by the mode of detection. */
const LEAKS: Record<DetectionSettings['mode'], string> = {
  off: 'detection is off',
  log: 'detection lists them and revokes none (mode log)',
  enforce: 'detection revokes them (mode enforce)',
};

interface Ready {
  edge: string;
  api: string;
  console: string;
  tokenFile: string;
  detection: { mode: DetectionSettings['mode'] };
  waf: { publish: boolean };
}

function welcome(ready: Ready): string {
  return `
  Portcullis is up.

    console  ${ready.console}
    edge     ${ready.edge}
    API      ${ready.api}
    tokens   ${ready.tokenFile}  (bearer tokens for the roles player, backend, security)
    leaks    ${LEAKS[ready.detection.mode]}; revocations are ${ready.waf.publish ? '' : 'not '}published as WAF rules too

  Open the console, press Play, then revoke the session. Ctrl-C stops everything.

`;
}
