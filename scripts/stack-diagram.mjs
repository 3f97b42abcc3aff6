import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { stacksOf } from './cloud-assembly.mjs';

const register = (digit) => digit.repeat(96);
/** The configuration that is drawn: all modules, in two regions. */
export const EVERYTHING = {
  revocation: { waf: { publish: true } },
  aws: {
    region: 'eu-central-1',
    modules: ['base', 'api', 'revocation', 'mastering', 'render', 'console'],
    delivery: { origin: 'packages' },
    render: {
      pcrs: { 0: register('a'), 1: register('b'), 2: register('c') },
      imageId: 'ami-0123456789abcdef0',
      owners: ['MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE='],
    },
  },
};

/** What belongs to something else that is drawn. */
const MINOR =
  /^(?:AWS::IAM::(?:Role|Policy|ManagedPolicy|InstanceProfile)|AWS::Lambda::(?:Permission|EventInvokeConfig)|AWS::Logs::LogGroup|AWS::ApiGatewayV2::(?:Route|Integration|Stage|Authorizer)|AWS::KMS::Alias|AWS::CDK::Metadata|AWS::(?:SNS::TopicPolicy|SQS::QueuePolicy|S3::BucketPolicy)|AWS::Cognito::UserPool.+|AWS::EC2::(?:Subnet|RouteTable|SubnetRouteTableAssociation|SecurityGroup\w*|Route)|Custom::(?!Portcullis).*)$/;

const WIDTH = 262;
const GAP = { x: 56, y: 28 };
const MARGIN = 28;
const LINE = 18;
const HEAD = 52;

/** The stacks of a cloud assembly with the types of their resources. */
export function stacksWithTypes(out) {
  return stacksOf(out).map(({ template, ...stack }) => {
    const { Resources } = JSON.parse(readFileSync(join(out, template), 'utf8'));
    return { ...stack, types: Object.values(Resources).map(({ Type }) => Type) };
  });
}

/**
 * An SVG of stacks in columns, each after what it waits for: `{name, region, after, types}`, the last the types of its
 * resources. The same stacks give the same bytes.
 */
export function stackDiagram(stacks) {
  const byName = new Map(stacks.map((stack) => [stack.name, stack]));
  const columnOf = (name) => Math.max(0, ...byName.get(name).after.map((before) => columnOf(before) + 1));
  const columns = [];
  for (const stack of stacks) {
    const column = columnOf(stack.name);
    columns[column] ??= [];
    columns[column].push(stack);
  }
  const boxes = new Map();
  for (const [index, column] of columns.entries()) {
    let y = 64;
    for (const { name, types } of column) {
      const lines = contents(types);
      const height = HEAD + lines.length * LINE + 8;
      boxes.set(name, { x: MARGIN + index * (WIDTH + GAP.x), y, height, lines });
      y += height + GAP.y;
    }
  }
  const width = 2 * MARGIN + columns.length * WIDTH + (columns.length - 1) * GAP.x;
  const height = Math.max(...[...boxes.values()].map((box) => box.y + box.height)) + MARGIN;
  const arrows = stacks.flatMap(({ name, after }) =>
    after
      .filter((before) => !isImplied(byName, name, before))
      .map((before) => {
        const passed = columns.slice(columnOf(before) + 1, columnOf(name)).flat();
        const bottoms = passed.map((stack) => boxes.get(stack.name)).map((box) => box.y + box.height);
        return arrow(boxes.get(before), boxes.get(name), Math.max(0, ...bottoms));
      }),
  );
  const drawn = stacks.map((stack) => box(stack, boxes.get(stack.name)));
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="system-ui, sans-serif" font-size="13" role="img" aria-labelledby="t">
  <title id="t">The stacks of a deployment with all modules, each after what it waits for: ${stacks.map(({ name }) => name).join(', ')}</title>
  <rect width="${width}" height="${height}" fill="#fbfaf7"/>
  <defs><marker id="a" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0 10 5 0 10z" fill="#3b4a54"/></marker></defs>
  <g font-size="13" fill="#56666e"><rect x="${MARGIN}" y="22" width="16" height="16" rx="3" fill="#e8f1f0" stroke="#1f6f68"/><text x="${MARGIN + 24}" y="35">in us-east-1</text><rect x="${MARGIN + 124}" y="22" width="16" height="16" rx="3" fill="#fff" stroke="#3b4a54"/><text x="${MARGIN + 148}" y="35">in aws.region</text></g>
  <g fill="none" stroke="#3b4a54" stroke-width="1.6" marker-end="url(#a)">
    ${arrows.join('\n    ')}
  </g>
${drawn.join('\n')}
</svg>
`;
}

/** Whether `name` waits for `before` by way of another anyway. */
function isImplied(byName, name, before) {
  const reaches = (from) => from === before || byName.get(from).after.some(reaches);
  return byName.get(name).after.some((other) => other !== before && reaches(other));
}

/** What is in a stack, as `6 × DynamoDB Table`, in order of their names. */
function contents(types) {
  const counts = new Map();
  for (const type of types.filter((type) => !MINOR.test(type))) {
    const [service, resource = ''] = type
      .replace(/^AWS::/, '')
      .replace(/^Custom::Portcullis/, 'deployment::')
      .split('::');
    const name = `${service} ${resource}`;
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return [...counts]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, count]) => (count > 1 ? `${count} × ${name}` : name));
}

/** An arrow from a box to another; under those in the columns between them, which end at `bottom`, 0 when there are none. */
function arrow(from, to, bottom) {
  const [x1, y1] = [from.x + WIDTH, from.y + 26];
  const [x2, y2] = [to.x - 2, to.y + 26];
  if (bottom === 0) return `<path d="M${x1} ${y1}C${x1 + 30} ${y1} ${x2 - 30} ${y2} ${x2} ${y2}"/>`;
  const lane = Math.max(y1, bottom + GAP.y / 2);
  const [left, right] = [x1 + GAP.x, x2 - GAP.x];
  const down = `C${x1 + 30} ${y1} ${left - 30} ${lane} ${left} ${lane}`;
  return `<path d="M${x1} ${y1}${down}H${right}C${right + 30} ${lane} ${x2 - 30} ${y2} ${x2} ${y2}"/>`;
}

function box({ name, region }, { x, y, height, lines }) {
  const style =
    region === 'us-east-1'
      ? 'fill="#e8f1f0" stroke="#1f6f68" stroke-width="2"'
      : 'fill="#fff" stroke="#3b4a54" stroke-width="1.6"';
  const text = lines.map((line, index) => `<text x="${x + 16}" y="${y + HEAD + 10 + index * LINE}">${line}</text>`);
  return `  <g fill="#1d2a30"><rect x="${x}" y="${y}" width="${WIDTH}" height="${height}" rx="9" ${style}/><text x="${x + 16}" y="${y + 28}" font-size="15" font-weight="600">${name}</text>${text.join('')}</g>`;
}
