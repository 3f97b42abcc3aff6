import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { readConfiguration } from '../config/configuration.ts';
import type { MasterReader } from '../enclave-render/mastering/master-reader.ts';
import { openMaster } from '../enclave-render/mastering/open-master.ts';
import { manifestPath } from '../enclave-render/mastering/signed-manifest.ts';
import { CONTAINERS, type Container } from '../enclave-render/packaging/containers.ts';
import { contentKeysFrom, type IvPolicy } from '../enclave-render/packaging/content-keys.ts';
import { openFile } from '../enclave-render/packaging/file-reader.ts';
import { refuseSourcesIn, requireFree } from '../enclave-render/packaging/output-folder.ts';
import { packageTitle, type TitleEncryption } from '../enclave-render/packaging/package-title.ts';
import type { PackagedTitle } from '../enclave-render/packaging/title.ts';
import { RUNGS, type Rung, type Transcoded, transcode } from '../enclave-render/packaging/transcode.ts';
import { openDataKeys } from '../local/data-keys.ts';
import { alignColumns, InputError, integer, note, print } from './command.ts';
import { registerLint } from './package-lint.ts';
import { registerLive } from './package-live.ts';
import { startProgress } from './progress.ts';
import { DEFAULT_DATA } from './up.ts';

const HLS_HELP = `
Several sources are renditions of one title, with key frames at the same times. The folder then holds master.m3u8, a folder a
rendition, packaging.json, and keys.json: the content keys as KMS encrypted them, for the key server and never to be served.
Playlists name everything relative to themselves, keys as ../keys/<name>.key, so that one token in the path guards it all.
With --dash nothing is encrypted: segments are in clear CMAF, with manifest.mpd beside the HLS playlists, guarded by the token
alone (docs/packaging.md).

Examples:
  portcullis package hls aurora.mp4 titles/aurora
  portcullis package hls 1080p.mp4 720p.mp4 titles/aurora --rotate-every 10 --iv random
  portcullis package hls aurora.mp4 titles/aurora --format ts --segment-seconds 6
  portcullis package hls aurora.mp4 live/aurora --part-seconds 1      for package live
  portcullis package hls aurora.mp4 titles/aurora --dash
  portcullis package hls aurora.mp4.enc titles/aurora                 a master of portcullis master encrypt
  portcullis package hls aurora.mkv titles/aurora --transcode 1080p,720p,360p

Exit code 2 when the folder is there already, and for sources that cannot be packaged: the message says why, and nothing is left.`;

interface HlsOptions {
  format: Container;
  segmentSeconds: number;
  rotateEvery?: number;
  iv: IvPolicy;
  keyPerRendition?: true;
  keyStorage?: string;
  partSeconds?: number;
  transcode?: Rung[];
  dash?: true;
  force?: true;
  kmsKey?: string;
  data: string;
  config?: string;
  json?: true;
}

export function registerPackage(program: Command): void {
  const group = program.command('package').description('masters into what players play; check and try that');
  registerLint(group);
  registerLive(group);

  group
    .command('hls')
    .description('package sources as encrypted HLS')
    .usage('[options] <source...> <out>')
    .argument('<paths...>', 'masters, MP4 or MOV files, then the folder to make')
    .addOption(
      new Option('--format <name>', 'container of the segments').choices(Object.keys(CONTAINERS)).default('cmaf'),
    )
    .option('--segment-seconds <n>', 'what a segment may last at most', integer(1, 60), 4)
    .option('--rotate-every <n>', 'a new key after so many segments; one for all otherwise', integer(1, 1_000_000))
    .addOption(
      new Option('--iv <policy>', 'initialization vectors').choices(['sequence', 'random']).default('sequence'),
    )
    .option('--key-per-rendition', 'a key for each rendition, instead of one for all')
    .option('--key-storage <file>', 'where the table of keys goes, out of the folder; keys.json in it otherwise')
    .option('--part-seconds <seconds>', 'make parts for low latency too, of CMAF', partSeconds)
    .option('--transcode <rungs>', `H.264 and AAC by ffmpeg first: ${Object.keys(RUNGS).join(',')}`, ladder)
    .option('--dash', 'in clear, with a DASH manifest: guarded by the token alone')
    .option('--force', 'replace the title that is in the folder')
    .option('--kms-key <id>', 'id, ARN or alias of the KMS key, instead of mastering.keyId')
    .option('--data <dir>', 'data directory of the stack, where its keystore is', DEFAULT_DATA)
    .option('--config <file>', 'configuration (docs/configuration.md)')
    .option('--json', 'print JSON')
    .addHelpText('after', HLS_HELP)
    .action(async (paths: string[], options: HlsOptions) => {
      const out = paths.at(-1);
      const files = paths.slice(0, -1);
      if (out === undefined || files.length === 0) {
        throw new InputError('name the sources and then the folder: portcullis package hls SOURCE… OUT');
      }
      const encryption = options.dash ? refuseKeys(options) : await encryptionOf(options);
      if (options.transcode && files.length !== 1)
        throw new InputError('--transcode makes all renditions of one source');
      const readers: MasterReader[] = [];
      let transcoded: Transcoded | undefined;
      const progress = startProgress();
      const stop = new AbortController();
      const interrupt = () => stop.abort(new InputError('stopped: nothing was written'));
      process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
      try {
        await requireFree(out, options.force ?? false);
        await refuseSourcesIn(out, files);
        for (const file of files) readers.push(await openSourceFile(file, options));
        let sources = readers.map((reader, index) => ({ reader, name: basename(files[index] ?? '') }));
        const [source] = sources;
        if (options.transcode && source) {
          transcoded = await transcode(source, {
            rungs: options.transcode,
            segmentSeconds: options.segmentSeconds,
            container: options.format,
            onProgress: (done) => progress.update(`transcoding, ${Math.round(done)} s done`, 0, 1),
            signal: stop.signal,
          });
          sources = transcoded.sources;
        }
        const title = await packageTitle(out, sources, {
          container: options.format,
          segmentSeconds: options.segmentSeconds,
          partSeconds: options.partSeconds,
          encryption,
          force: options.force,
          onProgress: (done, total) => progress.update('packaging', done, total),
          signal: stop.signal,
        });
        progress.stop();
        if (encryption === 'none') note('the segments are in clear: the token alone guards them');
        for (const height of transcoded?.leftOut ?? [])
          note(`no rendition of ${height}p: the source is no larger than a lower rung`);
        title.notes.forEach(note);
        print(options.json, summary(out, title), lines(out, title));
      } finally {
        progress.stop();
        process.off('SIGINT', interrupt).off('SIGTERM', interrupt);
        await transcoded?.close();
        for (const reader of readers) await reader.close();
      }
    });
}

/** An option that is a number of seconds, of parts. */
function partSeconds(text: string): number {
  const seconds = /^\d{1,2}(?:\.\d{1,3})?$/.test(text) ? Number(text) : Number.NaN;
  if (!(seconds >= 0.1 && seconds <= 10)) throw new InvalidArgumentError('It must be a number from 0.1 to 10.');
  return seconds;
}

/** Nothing is encrypted with `--dash`; an option that says how would mislead. */
function refuseKeys({ format, rotateEvery, iv, keyPerRendition, keyStorage }: HlsOptions): 'none' {
  if (format !== 'cmaf') throw new InputError('--dash is of CMAF segments: leave --format ts out');
  if (rotateEvery !== undefined || iv !== 'sequence' || keyPerRendition || keyStorage !== undefined) {
    throw new InputError(
      '--dash makes segments in clear: leave --rotate-every, --iv, --key-per-rendition and --key-storage out',
    );
  }
  return 'none';
}

async function encryptionOf(options: HlsOptions): Promise<TitleEncryption> {
  const { mastering } = await readConfiguration(options.config);
  const dataKeys = await openDataKeys(mastering, options.data);
  return {
    newContentKey: contentKeysFrom(dataKeys, options.kmsKey ?? mastering.keyId),
    rotateEvery: options.rotateEvery,
    perRendition: options.keyPerRendition ?? false,
    iv: options.iv,
    keyTableFile: options.keyStorage,
  };
}

/** A master is what has a manifest beside it; everything else is taken for a file in clear. */
async function openSourceFile(file: string, { config, data }: HlsOptions): Promise<MasterReader> {
  if (!existsSync(manifestPath(file))) return openFile(file);
  const { mastering } = await readConfiguration(config);
  return openMaster(file, { dataKeys: await openDataKeys(mastering, data) });
}

/** Rungs that `--transcode` names. */
function ladder(text: string): Rung[] {
  return text.split(',').map((name) => {
    const rung = RUNGS[name];
    if (!rung) throw new InvalidArgumentError(`It must be a list of ${Object.keys(RUNGS).join(', ')}.`);
    return rung;
  });
}

/** What was made, without its list of segments. */
function summary(out: string, title: PackagedTitle) {
  const { container, encryption, targetDuration, duration, renditions } = title;
  return {
    out,
    container,
    encryption,
    targetDuration,
    duration,
    keys: new Set(renditions.flatMap(({ segments }) => segments.flatMap((segment) => segment.encryption?.key ?? [])))
      .size,
    renditions: renditions.map(({ segments, ...rendition }) => ({ ...rendition, segments: segments.length })),
    notes: title.notes,
  };
}

function lines(out: string, title: PackagedTitle): string[] {
  const { renditions, keys, encryption } = summary(out, title);
  const guarded = encryption === 'none' ? 'in clear' : `AES-128 under ${keys} ${keys === 1 ? 'key' : 'keys'}`;
  return [
    `${out}: ${title.duration.toFixed(1)} s as ${CONTAINERS[title.container].name}, ${guarded}`,
    ...alignColumns([
      ['rendition', 'codecs', 'segments', 'kbit/s', 'peak'],
      ...renditions.map(({ name, codecs, segments, averageBandwidth, bandwidth }) => [
        name,
        codecs.join(','),
        `${segments}`,
        `${Math.round(averageBandwidth / 1000)}`,
        `${Math.round(bandwidth / 1000)}`,
      ]),
    ]),
  ];
}
