import { spawn, spawnSync } from 'node:child_process';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createInterface } from 'node:readline';
import { json } from 'node:stream/consumers';
import { type CreateJobRequest, MediaConvert } from '@aws-sdk/client-mediaconvert';

/** What the SDK puts on the wire for a request: it leaves out whatever its model does not know. */
export async function sentBySdk(request: CreateJobRequest): Promise<unknown> {
  process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';
  let body: unknown;
  const server = createServer(async (incoming, answer) => {
    body = await json(incoming);
    answer.writeHead(201, { 'content-type': 'application/json' }).end('{"job":{}}');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const client = new MediaConvert({
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    region: 'eu-central-1',
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
  });
  await client.createJob(request);
  client.destroy();
  server.close();
  return body;
}

/** Whether AWS's API models are there, which the SDK for Python has and that for JavaScript has not. */
export const hasModels = spawnSync('python3', ['-c', 'import botocore'], { stdio: 'ignore' }).status === 0;

const CHECK = `
import json, re, sys
import botocore.session
from botocore.validate import ParamValidator
model = botocore.session.get_session().get_service_model('mediaconvert').operation_model('CreateJob').input_shape
def check(value, shape, path, found):
    if shape.type_name == 'structure':
        for name, child in value.items():
            if name in shape.members: check(child, shape.members[name], path + '.' + name, found)
    elif shape.type_name == 'list':
        for i, child in enumerate(value): check(child, shape.member, path + '[%d]' % i, found)
    elif shape.type_name == 'map':
        for name, child in value.items(): check(child, shape.value, path + '.' + name, found)
    else:
        if getattr(shape, 'enum', None) and value not in shape.enum: found.append(path + ' is none of ' + str(shape.enum))
        meta = shape._shape_model
        if 'pattern' in meta and not re.search(meta['pattern'], value): found.append(path + ' breaks ' + meta['pattern'])
        for name, broken in (('min', lambda a, b: a < b), ('max', lambda a, b: a > b)):
            size = len(value) if isinstance(value, str) else value
            if name in meta and broken(size, meta[name]): found.append(path + ' breaks ' + name)
for line in sys.stdin:
    request = json.loads(line)
    report = ParamValidator().validate(request, model)
    found = [report.generate_report()] if report.has_errors() else []
    check(request, model, '', found)
    print(json.dumps(found), flush=True)
`;

/** The program above, which answers a line with a line. It ends with this process. */
function startChecking() {
  const { stdin, stdout } = spawn('python3', ['-c', CHECK], { stdio: ['pipe', 'pipe', 'inherit'] });
  return { stdin, answers: createInterface(stdout)[Symbol.asyncIterator]() };
}

/** Started once: to load the models takes longer than to check all requests. */
let checking: ReturnType<typeof startChecking> | undefined;

/** What AWS's own model of CreateJob finds wrong: members, types, required ones, lengths, ranges, enumerations, patterns. */
export async function faultsByModel(request: CreateJobRequest): Promise<string[]> {
  checking ??= startChecking();
  checking.stdin.write(`${JSON.stringify(request)}\n`);
  const { value, done } = await checking.answers.next();
  if (done) throw new Error('the program that knows the models has ended');
  return JSON.parse(value);
}
