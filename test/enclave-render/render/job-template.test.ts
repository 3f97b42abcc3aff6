import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { expandTemplate } from '../../../enclave-render/render/job-template.ts';

const TEMPLATES = new URL('../../../enclave-render/render/templates/', import.meta.url);

const ENCODE = {
  name: 'encode',
  parameterSpace: { taskParameterDefinitions: [{ name: 'Height', type: 'INT', range: '180-360:180' }] },
  script: {
    actions: {
      onRun: {
        command: 'ffmpeg',
        args: ['-i', '{{Param.Source}}', '-vf', 'scale=-2:{{ Task.Param.Height }}', '{{Param.Output}}'],
      },
    },
  },
};
const PACKAGE = {
  name: 'package',
  dependencies: [{ dependsOn: 'encode' }],
  script: {
    actions: { onRun: { command: 'package-hls', args: ['/in/encode.1/title.mp4', '/in/encode.2/title.mp4'] } },
  },
};
const JOB = {
  specificationVersion: 'jobtemplate-2023-09',
  name: 'Encode and package',
  parameterDefinitions: [
    { name: 'Source', type: 'PATH', objectType: 'FILE', dataFlow: 'IN' },
    { name: 'Output', type: 'PATH', objectType: 'FILE', dataFlow: 'OUT', default: 'title.mp4' },
  ],
  steps: [ENCODE, PACKAGE],
};
const INPUTS = [{ name: 'Source', fileName: 'aurora.mov' }];

/** A job of one step with these arguments of ffmpeg. */
function ffmpegJob(args: string[], parameterDefinitions: object[] = [], more: object = {}) {
  const step = { name: 'one', script: { actions: { onRun: { command: 'ffmpeg', args } } }, ...more };
  const definitions = [...JOB.parameterDefinitions, ...parameterDefinitions];
  return { ...JOB, parameterDefinitions: definitions, steps: [step] };
}
const TEXT = { name: 'Text', type: 'STRING' };
const argumentsOf = (template: unknown, parameters: Record<string, string | number> = {}) =>
  expandTemplate(template, parameters, INPUTS)[0]?.args ?? [];

function refusal(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    expect(error).toMatchObject({ name: 'RenderError', code: 'ERR_RENDER_TEMPLATE' });
    return (error as Error).message;
  }
  throw new Error('was not refused');
}

describe('tasks of a template', () => {
  test('are each combination of a step, with everything filled in', () => {
    const tasks = expandTemplate(JOB, {}, INPUTS);
    expect(tasks.map(({ args, ...task }) => task)).toEqual([
      {
        id: 'encode.1',
        step: 'encode',
        parameters: { Height: 180 },
        renderer: 'ffmpeg',
        inputs: ['Source'],
        after: [],
        delivered: false,
      },
      {
        id: 'encode.2',
        step: 'encode',
        parameters: { Height: 360 },
        renderer: 'ffmpeg',
        inputs: ['Source'],
        after: [],
        delivered: false,
      },
      {
        id: 'package',
        step: 'package',
        parameters: {},
        renderer: 'package-hls',
        inputs: [],
        after: ['encode.1', 'encode.2'],
        delivered: true,
      },
    ]);
    expect(tasks[1]?.args.slice(-5)).toEqual(['/in/aurora.mov', '-vf', 'scale=-2:360', '-bitexact', '/out/title.mp4']);
    expect(tasks[2]?.args).toEqual(['/in/encode.1/title.mp4', '/in/encode.2/title.mp4']);
  });

  test('are the same every time, and of a copy through JSON', () => {
    expect(expandTemplate(JSON.parse(JSON.stringify(JOB)), {}, INPUTS)).toEqual(expandTemplate(JOB, {}, INPUTS));
  });

  test('come after those of the steps that theirs depends on, wherever the template has them', () => {
    const steps = [PACKAGE, { ...ENCODE, name: 'other' }, ENCODE];
    expect(expandTemplate({ ...JOB, steps }, {}, INPUTS).map(({ id }) => id)).toEqual([
      'other.1',
      'other.2',
      'encode.1',
      'encode.2',
      'package',
    ]);
  });

  test.each([
    ['3', [3]],
    ['1-4', [1, 2, 3, 4]],
    ['1-10:4', [1, 5, 9]],
    ['10-1:-4', [10, 6, 2]],
    ['-3--1', [-3, -2, -1]],
    ['1, 4-5 ,9', [1, 4, 5, 9]],
    [
      [7, '5'],
      [7, 5],
    ],
    ['1-{{Param.Last}}', [1, 2]],
  ])('have the values of range %j', (range, values) => {
    const parameterSpace = { taskParameterDefinitions: [{ name: 'N', type: 'INT', range }] };
    const last = { name: 'Last', type: 'INT', default: 2 };
    const job = ffmpegJob(['-i', '{{Param.Source}}', '/out/a.mov'], [last], { parameterSpace });
    expect(expandTemplate(job, {}, INPUTS).map(({ parameters }) => parameters.N)).toEqual(values);
  });

  test('are the product of all task parameters, of which the last changes fastest', () => {
    const parameterSpace = {
      taskParameterDefinitions: [
        { name: 'A', type: 'INT', range: '1-2' },
        { name: 'B', type: 'STRING', range: ['x', 'y'] },
      ],
    };
    const job = ffmpegJob(['-i', '{{Param.Source}}', '/out/a.mov'], [], { parameterSpace });
    expect(expandTemplate(job, {}, INPUTS).map(({ parameters: { A, B } }) => `${A}${B}`)).toEqual([
      '1x',
      '1y',
      '2x',
      '2y',
    ]);
  });

  test.each(['1-1025', '5-1', '1-5:0', '1-5:-1', '1-2-3', 'a', '', '1,1', '1-3,2', '1.5', '99999999999999999'])(
    'are not made of range %j',
    (range) => {
      const parameterSpace = { taskParameterDefinitions: [{ name: 'N', type: 'INT', range }] };
      const job = ffmpegJob(['-i', '{{Param.Source}}', '/out/a.mov'], [], { parameterSpace });
      expect(refusal(() => expandTemplate(job, {}, INPUTS))).toMatch(
        /^steps\.0\.parameterSpace\.taskParameterDefinitions\.0\.range /,
      );
    },
  );

  test('are 1,024 at most, in one step and in all', () => {
    const space = (range: string) => ({ taskParameterDefinitions: [{ name: 'N', type: 'INT', range }] });
    const step = (name: string, range: string) => ({ ...ENCODE, name, parameterSpace: space(range) });
    const args = ['-i', '{{Param.Source}}', '/out/a.mov'];
    const script = { actions: { onRun: { command: 'ffmpeg', args } } };
    const job = (...ranges: string[]) => ({
      ...JOB,
      steps: ranges.map((range, index) => ({ ...step(`s${index}`, range), script })),
    });
    expect(expandTemplate(job('1-1000', '1-24'), {}, INPUTS)).toHaveLength(1024);
    expect(refusal(() => expandTemplate(job('1-1000', '1-25'), {}, INPUTS))).toContain('1024 tasks');
    const huge = {
      taskParameterDefinitions: ['A', 'B', 'C', 'D'].map((name) => ({ name, type: 'INT', range: '1-1000' })),
    };
    expect(refusal(() => expandTemplate(ffmpegJob(args, [], { parameterSpace: huge }), {}, INPUTS))).toContain('1024');
  });

  test.each(readdirSync(TEMPLATES))('are made of the template %s', (file) => {
    const template = JSON.parse(readFileSync(new URL(file, TEMPLATES), 'utf8'));
    const given: Record<string, string | number> = { Text: 'Ann Example', Last: 3 };
    const names: { name: string; type: string; dataFlow?: string }[] = template.parameterDefinitions;
    const parameters = Object.fromEntries(
      Object.entries(given).filter(([name]) => names.some((one) => one.name === name)),
    );
    const inputs = names
      .filter(({ dataFlow }) => dataFlow === 'IN')
      .map(({ name }) => ({ name, fileName: name === 'Scene' ? 'a.blend' : `${name}.mov` }));
    expect(expandTemplate(template, parameters, inputs).length).toBeGreaterThan(0);
  });
});

describe('a template is refused, by the path of what is wrong, when', () => {
  const step = (more: object) => ({ ...JOB, steps: [{ ...ENCODE, ...more }] });
  const onRun = (more: object) => step({ script: { actions: { onRun: { ...ENCODE.script.actions.onRun, ...more } } } });

  test.each<[string, unknown, string]>([
    ['it is no object', 'jobtemplate', 'template '],
    ['it is of another version', { ...JOB, specificationVersion: 'jobtemplate-2024-01' }, 'specificationVersion '],
    ['it has no step', { ...JOB, steps: [] }, 'steps '],
    ['it has job environments', { ...JOB, jobEnvironments: [] }, 'jobEnvironments is not in the subset'],
    ['it has extensions', { ...JOB, extensions: ['EXPR'] }, 'extensions is not in the subset'],
    ['a step has environments', step({ stepEnvironments: [] }), 'steps.0.stepEnvironments is not in the subset'],
    ['a step wants a host', step({ hostRequirements: {} }), 'steps.0.hostRequirements is not in the subset'],
    [
      'a script brings files',
      step({ script: { ...ENCODE.script, embeddedFiles: [] } }),
      'steps.0.script.embeddedFiles',
    ],
    ['an action has a timeout', onRun({ timeout: 3 }), 'steps.0.script.actions.onRun.timeout is not in the subset'],
    ['the command is a shell', onRun({ command: 'bash' }), 'steps.0.script.actions.onRun.command is none of'],
    ['the command is a path', onRun({ command: '/usr/bin/ffmpeg' }), 'steps.0.script.actions.onRun.command'],
    ['the command is of every object', onRun({ command: 'constructor' }), 'steps.0.script.actions.onRun.command'],
    ['the command is a variable', onRun({ command: '{{Param.Source}}' }), 'steps.0.script.actions.onRun.command'],
    [
      'a combination is given',
      step({ parameterSpace: { ...ENCODE.parameterSpace, combination: '(A)' } }),
      'steps.0.parameterSpace.combination',
    ],
    ['a step has a name for two folders', step({ name: 'a/b' }), 'steps.0.name'],
    ['a step is called as a task is', step({ name: 'encode.1' }), 'steps.0.name'],
    [
      'two steps have one name',
      { ...JOB, steps: [ENCODE, { ...ENCODE, name: 'ENCODE' }] },
      'steps.1.name is there twice',
    ],
    ['a step depends on none', step({ dependencies: [{ dependsOn: 'nobody' }] }), 'steps.0.dependencies.0.dependsOn'],
    ['a step depends on itself', step({ dependencies: [{ dependsOn: 'encode' }] }), 'steps depend on each other'],
    ['a variable is unknown', onRun({ args: ['{{Param.Nobody}}'] }), 'steps.0.script.actions.onRun.args.0 asks for'],
    [
      'a variable is of the session',
      onRun({ args: ['{{Session.WorkingDirectory}}'] }),
      'steps.0.script.actions.onRun.args.0',
    ],
    ['braces are no variable', onRun({ args: ['{{ 1 + 1 }}'] }), 'steps.0.script.actions.onRun.args.0 has {{'],
    ['braces are not closed', onRun({ args: ['{{Param.Source'] }), 'steps.0.script.actions.onRun.args.0 has {{'],
    ['an argument has a NUL', onRun({ args: ['a\0b'] }), 'steps.0.script.actions.onRun.args.0'],
    [
      'it reads a task that it does not wait for',
      onRun({ args: ['-i', '/in/package/a.ts', '/out/a.mov'] }),
      'steps.0.script.actions.onRun.args.1 reads /in/package',
    ],
    [
      'it reads a file of the host',
      onRun({ args: ['-i', '/etc/passwd', '/out/a.mov'] }),
      'steps.0.script.actions.onRun.args.1 is no file in /in',
    ],
    [
      'it climbs out of /in',
      onRun({ args: ['-i', '/in/../etc/passwd', '/out/a.mov'] }),
      'steps.0.script.actions.onRun.args.1',
    ],
  ])('%s', (_, template, path) => {
    expect(refusal(() => expandTemplate(template, {}, INPUTS))).toContain(path);
  });

  test('two steps wait for each other', () => {
    const steps = [{ ...ENCODE, dependencies: [{ dependsOn: 'package' }] }, PACKAGE];
    expect(refusal(() => expandTemplate({ ...JOB, steps }, {}, INPUTS))).toContain('in a circle');
  });

  test.each<[string, Record<string, string | number>, { name: string; fileName: string }[], string]>([
    ['an input is missing', {}, [], 'inputs.Source is missing'],
    ['an input is there twice', {}, [...INPUTS, ...INPUTS], 'inputs.Source is there twice'],
    ['an input is no parameter', {}, [...INPUTS, { name: 'Other', fileName: 'b' }], 'Other'],
    ['an input is given as a value', { Source: '/etc/passwd' }, INPUTS, 'parameters.Source'],
    ['an input has the name of a task', {}, [{ name: 'Source', fileName: 'encode.1' }], 'encode.1'],
    ['a parameter is not of the template', { Other: 1 }, INPUTS, 'Other'],
    ['an output climbs', { Output: '../a' }, INPUTS, 'parameters.Output'],
    ['an output is absolute', { Output: '/etc/a' }, INPUTS, 'parameters.Output'],
    ['an output is hidden', { Output: '.a' }, INPUTS, 'parameters.Output'],
    ['an output is a number', { Output: 1 }, INPUTS, 'parameters.Output'],
  ])('%s', (_, parameters, inputs, path) => {
    expect(refusal(() => expandTemplate(JOB, parameters, inputs))).toContain(path);
  });

  test.each<[string, object, string | number | undefined]>([
    ['is missing', TEXT, undefined],
    ['is too short', { ...TEXT, minLength: 2 }, 'a'],
    ['is too long', { ...TEXT, maxLength: 2 }, 'abc'],
    ['is none of those allowed', { ...TEXT, allowedValues: ['a', 'b'] }, 'c'],
    ['is a number and should be text', TEXT, 1],
    ['has a line break', TEXT, 'a\nb'],
    ['has a lone surrogate', TEXT, 'a\ud800'],
    ['is text and should be a number', { name: 'Text', type: 'INT' }, '1'],
    ['has a fraction', { name: 'Text', type: 'INT' }, 1.5],
    ['is no number', { name: 'Text', type: 'FLOAT' }, Number.NaN],
    ['is too small', { name: 'Text', type: 'FLOAT', minValue: 0 }, -0.1],
    ['is too large', { name: 'Text', type: 'INT', maxValue: 9 }, 10],
  ])('a value %s', (_, definition, value) => {
    const parameters: Record<string, string | number> = value === undefined ? {} : { Text: value };
    const job = ffmpegJob(['-i', '{{Param.Source}}', '-metadata', 'title={{Param.Text}}', '/out/a.mov'], [definition]);
    expect(refusal(() => argumentsOf(job, parameters))).toMatch(/^parameters\.Text /);
  });
});

describe('whoever chooses a parameter', () => {
  const source = ['-i', '{{Param.Source}}'];
  const hostile = [
    'concat:/etc/passwd|/in/a',
    'http://127.0.0.1/',
    'file:/etc/passwd',
    '/etc/passwd',
    'pipe:0',
    'data:text/plain,a',
    'subfile,,start,0,end,9,,:/etc/passwd',
    'movie=/etc/passwd',
    '-y',
    '@/etc/passwd',
    '/in/../../etc/passwd',
  ];

  test.each(hostile)('names no input: %s', (value) => {
    const job = ffmpegJob(['-i', '{{Param.Text}}', '/out/a.mov'], [TEXT]);
    refusal(() => argumentsOf(job, { Text: value }));
  });

  test.each(hostile)('names no output: %s', (value) => {
    const job = ffmpegJob([...source, '{{Param.Text}}'], [TEXT]);
    refusal(() => argumentsOf(job, { Text: value }));
  });

  test.each(['-an', '-filter_complex_script', '@args', '--python', '-'])('adds no option: %s', (value) => {
    for (const args of [
      [...source, '{{Param.Text}}', '/out/a.mov'],
      [...source, '-{{Param.Text}}', '/out/a.mov'],
    ]) {
      refusal(() => argumentsOf(ffmpegJob(args, [TEXT]), { Text: value }));
    }
  });

  test('has no say in what an option is', () => {
    for (const args of [
      ['-c:{{Param.Text}}', 'copy'],
      ['-{{Param.Number}}', 'a'],
    ]) {
      const job = ffmpegJob([...source, ...args, '/out/a.mov'], [TEXT, { name: 'Number', type: 'INT', default: 1 }]);
      expect(refusal(() => argumentsOf(job, { Text: 'v' }))).toContain('is an option');
    }
  });

  test('adds no filter, no option of one and no link', () => {
    const job = ffmpegJob([...source, '-vf', 'drawtext=expansion=none:text={{Param.Text}}:x=1', '/out/a.mov'], [TEXT]);
    const [graph = ''] = argumentsOf(job, { Text: "a:b,movie=c;[d]'%{pts}\\" }).filter((text) =>
      text.startsWith('draw'),
    );
    // Every character of the graph's own is behind three backslashes, or is two of them twice.
    const text = graph.slice('drawtext=expansion=none:text='.length, -':x=1'.length);
    expect(text.replaceAll(/\\\\\\[^\p{L}\p{N}]/gu, '')).toBe('abmoviecdpts');
  });

  test('draws text that is evaluated, or in quotes, in no template', () => {
    for (const graph of ['drawtext=text={{Param.Text}}', "drawtext=expansion=none:text='{{Param.Text}}'"]) {
      refusal(() => argumentsOf(ffmpegJob([...source, '-vf', graph, '/out/a.mov'], [TEXT]), { Text: 'a' }));
    }
  });

  test('may say anything where it is data', () => {
    const job = ffmpegJob([...source, '-metadata', 'title={{Param.Text}}', '/out/a.mov'], [TEXT]);
    expect(argumentsOf(job, { Text: '-i /etc/passwd {{Param.Source}}' })).toContain(
      'title=-i /etc/passwd {{Param.Source}}',
    );
  });
});

describe('ffmpeg', () => {
  const source = ['-i', '{{Param.Source}}'];

  test('is told what it may read before every input', () => {
    const args = argumentsOf(ffmpegJob([...source, ...source, '/out/a.mov']));
    for (const [index, text] of args.entries()) {
      if (text !== '-i') continue;
      expect(args.slice(index - 4, index)).toEqual([
        '-protocol_whitelist',
        'file',
        '-format_whitelist',
        expect.not.stringMatching(/hls|concat|dash|lavfi|sdp|tee/),
      ]);
    }
    expect(args.filter((text) => text === '-i')).toHaveLength(2);
    expect(args).toContain('-nostdin');
  });

  test.each([
    ['-protocol_whitelist', 'file,http'],
    ['-f', 'lavfi'],
    ['-f', 'tee'],
    ['-f', 'concat'],
    ['-f', 'hls'],
    ['-attach', '/in/aurora.mov'],
    ['-dump_attachment:t', '/out/a'],
    ['-filter_complex_script', '/in/aurora.mov'],
    ['-/filter_complex', '/in/aurora.mov'],
    ['-x264-params', 'stats=/out/a'],
    ['-passlogfile', '/out/a'],
    ['-init_hw_device', 'cuda'],
    ['-progress', 'http://127.0.0.1'],
    ['-report', ''],
    ['-enable_drefs', '1'],
    ['-y', ''],
  ])('has no option %s %s', (option, value) => {
    const job = ffmpegJob([...source, option, value, '/out/a.mov'].filter((text) => text !== ''));
    expect(refusal(() => argumentsOf(job))).toMatch(/onRun\.args\.\d/);
  });

  test.each([[source], [[...source, '-t']], [[...source, '/tmp/a.mov']], [[...source, '/out/']], [[]]])(
    'writes files in /out and nothing else: %j',
    (args) => {
      refusal(() => argumentsOf(ffmpegJob(args)));
    },
  );
});

describe('blender', () => {
  const scene = [{ name: 'Source', fileName: 'a.blend' }];
  const job = (args: string[]) => ({
    ...JOB,
    steps: [{ name: 'one', script: { actions: { onRun: { command: 'blender', args } } } }],
  });

  test('renders frames of a scene, and none of its Python', () => {
    const args = expandTemplate(job(['{{Param.Source}}', '-o', '/out/f-####', '-f', '1..3']), {}, scene)[0]?.args;
    expect(args).toEqual([
      ...['--background', '--factory-startup', '--disable-autoexec', '-noaudio'],
      ...['/in/a.blend', '-o', '/out/f-####', '-f', '1..3'],
    ]);
  });

  test.each([
    [['-o', '/out/f', '-f', '1']],
    [['{{Param.Source}}', '-f', '1']],
    [['{{Param.Source}}', '-o', '/tmp/f', '-f', '1']],
    [['{{Param.Source}}', '-o', '/out/f', '--python-expr', 'a', '-f', '1']],
    [['{{Param.Source}}', '-o', '/out/f', '-P', '/in/a.blend', '-f', '1']],
    [['{{Param.Source}}', '-o', '/out/f', '--enable-autoexec', '1', '-f', '1']],
    [['{{Param.Source}}', '-f', '1', '-o', '/out/f']],
    [['{{Param.Source}}', '-o', '/out/f', '-f']],
  ])('refuses %j', (args) => {
    refusal(() => expandTemplate(job(args), {}, scene));
  });
});

describe('package-hls', () => {
  const job = (args: string[]) => ({
    ...JOB,
    steps: [{ name: 'one', script: { actions: { onRun: { command: 'package-hls', args } } } }],
  });

  test.each([
    [[]],
    [['--segment-seconds', '6']],
    [['{{Param.Source}}', '--segment-seconds', '0']],
    [['{{Param.Source}}', '--segment-seconds', '61']],
    [['{{Param.Source}}', '--container', 'mp4']],
    [['{{Param.Source}}', '--encryption', 'none']],
    [['{{Param.Source}}', '/etc/passwd']],
    [['{{Param.Source}}', '--rotate-every']],
  ])('refuses %j', (args) => {
    refusal(() => expandTemplate(job(args), {}, INPUTS));
  });
});
