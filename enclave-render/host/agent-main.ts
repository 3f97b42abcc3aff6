import { readFile } from 'node:fs/promises';
import { Socket } from 'node:net';
import { parseArgs } from 'node:util';
import * as v from 'valibot';
import { expandTemplate } from '../render/job-template.ts';
import { openSandbox } from '../render/open-sandbox.ts';
import type { RenderManifest } from '../render/render-manifest.ts';
import { connectNsm, openNsm } from '../security-module/nsm.ts';
import { serveAgent } from './agent.ts';
import { RunnerConfigurationSchema } from './runner-configuration.ts';

// What runs in an enclave. Its parent is at descriptor 3, on AWS through socat from vsock; its module behind the helper for /dev/nsm,
// or, where it is a simulated one, at descriptor 4. It prints nothing: whoever runs the enclave would read it.
const CHANNEL = 3;
const { values } = parseArgs({
  options: {
    configuration: { type: 'string' },
    'nsm-helper': { type: 'string' },
    'simulated-module': { type: 'boolean', default: false },
    scratch: { type: 'string', default: '/tmp' },
  },
});

const SIMULATED_MODULE = 4;
const helper = values['nsm-helper'];
if (values.configuration === undefined || (helper !== undefined) === values['simulated-module']) process.exit(2);
const configuration = v.parse(RunnerConfigurationSchema, JSON.parse(await readFile(values.configuration, 'utf8')));
const module = helper === undefined ? connectNsm(new Socket({ fd: SIMULATED_MODULE })) : openNsm(helper);
const sandbox = openSandbox(configuration.isolation);
const tasksOf = ({ template, parameters, inputs }: RenderManifest) => expandTemplate(template, parameters, inputs);
const enclave = { module, configuration, sandbox, scratch: values.scratch, tasksOf };
await serveAgent(new Socket({ fd: CHANNEL }), enclave).catch(() => {
  process.exitCode = 1;
});
process.exit();
