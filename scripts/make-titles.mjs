#!/usr/bin/env node
// Makes the two demonstration titles in local/titles/ with ffmpeg. The pictures and the sound are synthesised, so there
// is nothing to license, and the encode is bit-exact for a given ffmpeg build, so a rerun does not churn the repository.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const titlesFolder = join(dirname(fileURLToPath(import.meta.url)), '..', 'local', 'titles');

const FRAME_RATE = 25;
const SEGMENT_SECONDS = 2;
const AUDIO_KBPS = 56;

const renditions = [
  { folder: '360p', width: 640, height: 360, crf: 25, maxKbps: 420, level: '3.0' },
  { folder: '180p', width: 320, height: 180, crf: 27, maxKbps: 150, level: '1.3' },
];

// `random()` in ffmpeg's expressions depends on the slicing of the frame; this hash of the position does not.
const hash = (x, y) => `mod(abs(sin((${x})*12.9898+(${y})*78.233)*43758.5453),1)`;

const titles = [
  {
    id: 'aurora',
    name: 'AURORA',
    seconds: 60,
    posterAt: 20,
    accent: '0x8ef0c4',
    // Curtains of light computed on a small canvas: blurred by the upscale, and cheap enough for a minute of frames.
    backdrop: {
      size: '160x90',
      red: '10+10*Y/H+ld(3)*18+ld(5)*96',
      green: '14+26*Y/H+ld(3)*205+ld(5)*22',
      blue: '36+36*Y/H+ld(3)*128+ld(5)*150',
      setup: [
        'st(0,X/W)',
        'st(1,0.48+0.09*sin(5.1*ld(0)+0.23*T)+0.05*sin(11.3*ld(0)-0.31*T+1))',
        'st(2,0.55+0.28*sin(23*ld(0)+0.9*sin(3*ld(0)+0.17*T)+0.45*T)+0.17*sin(51*ld(0)-0.6*T))',
        'st(6,Y/H-ld(1))',
        'st(3,ld(2)*if(gt(ld(6),0),exp(-ld(6)*ld(6)*260),exp(-ld(6)*ld(6)*22)))',
        'st(7,Y/H-ld(1)+0.2)',
        'st(5,ld(2)*exp(-ld(7)*ld(7)*30)*0.8)',
      ],
    },
    // A ridge line, and stars above it.
    foreground: {
      setup: [
        'st(0,X/W)',
        'st(1,0.80-0.055*sin(4.2*ld(0)+0.6)-0.03*sin(11*ld(0)+2)-0.012*sin(31*ld(0))-0.006*sin(83*ld(0)+1))',
        'st(2,gt(Y/H,ld(1)))',
        `st(3,gt(${hash('X', 'Y')},0.9988)*(1-Y/H))`,
      ],
      red: 'if(ld(2),5,235)',
      green: 'if(ld(2),10,240)',
      blue: 'if(ld(2),20,255)',
      alpha: 'if(ld(2),255*clip((Y/H-ld(1))*180,0,1),220*ld(3))',
    },
    // An open fifth with its octave; each partial swells at its own pace.
    sound: (channel) =>
      [110, 164.81, 220, 277.18, 329.63]
        .map(
          (hz, i) =>
            `${(0.09 / (1 + i * 0.45)).toFixed(4)}*sin(2*PI*${hz + channel * 0.35}*t)*(0.62+0.38*sin(2*PI*${(0.05 + i * 0.021).toFixed(3)}*t+${i + channel}))`,
        )
        .join('+'),
  },
  {
    id: 'harbour',
    name: 'HARBOUR',
    seconds: 20,
    posterAt: 8,
    accent: '0xffc98a',
    // A low sun over water: the reflection is the sun's glow broken up by ripples that narrow towards the horizon.
    backdrop: {
      size: '320x180',
      setup: [
        'st(0,Y/H)',
        'st(1,X/W-0.62)',
        'st(2,gt(ld(0),0.58))',
        'st(3,max(ld(0)-0.58,0.002))',
        'st(4,sin(9/(ld(3)+0.035)+1.6*T+2*sin(9*ld(1)+0.7*T))*0.5+0.5)',
        'st(5,sin(14/(ld(3)+0.05)-1.1*T+5*ld(1))*0.5+0.5)',
        'st(6,exp(-pow(ld(1)/(0.035+0.34*ld(3)),2))*ld(4)*(0.55+0.45*ld(5)))',
        'st(7,hypot(ld(1)*1.7778,ld(0)-0.46))',
        'st(8,if(ld(2),0,exp(-ld(7)*ld(7)*16)))',
        'st(9,clip((0.085-ld(7))*180,0,1)*(1-ld(2)))',
      ],
      red: 'if(ld(2),46+74*exp(-ld(3)*9)+10*ld(5)+185*ld(6),46+165*pow(ld(0)/0.58,1.3)+60*ld(8)+40*ld(9))',
      green: 'if(ld(2),40+40*exp(-ld(3)*9)+9*ld(5)+120*ld(6),44+66*pow(ld(0)/0.58,1.9)+62*ld(8)+80*ld(9))',
      blue: 'if(ld(2),78+14*exp(-ld(3)*9)+12*ld(5)+42*ld(6),96+2*pow(ld(0)/0.58,1.2)+8*ld(8)+66*ld(9))',
    },
    // The far shore, a breakwater and a lighthouse.
    foreground: {
      setup: [
        'st(0,X/W)',
        'st(1,Y/H)',
        'st(2,0.575-0.035*exp(-pow((ld(0)-0.12)*5,2))-0.022*exp(-pow((ld(0)-0.95)*6,2))-0.004*sin(60*ld(0)))',
        'st(3,between(ld(1),ld(2),0.585))',
        'st(4,gt(ld(1),0.665+0.10*pow(max(ld(0)-0.02,0)/0.36,3)+0.004*sin(70*ld(0)))*lt(ld(1),0.745+0.012*sin(40*ld(0)))*lt(ld(0),0.36))',
        'st(5,lt(abs(ld(0)-0.17),0.0125+0.030*(ld(1)-0.31))*between(ld(1),0.31,0.70))',
        'st(6,lt(abs(ld(0)-0.17),0.019)*between(ld(1),0.30,0.312))',
        'st(7,lt(abs(ld(0)-0.17),0.011)*between(ld(1),0.25,0.30))',
        'st(8,lt(abs(ld(0)-0.17),0.013*(ld(1)-0.215)/0.035)*between(ld(1),0.215,0.25))',
        'st(9,gt(ld(4)+ld(5)+ld(6)+ld(8),0))',
      ],
      red: 'if(ld(9),26,if(ld(7),255,74))',
      green: 'if(ld(9),20,if(ld(7),224,44))',
      blue: 'if(ld(9),40,if(ld(7),160,78))',
      alpha: 'if(gt(ld(9)+ld(7),0),255,210*ld(3))',
    },
    sound: (channel) =>
      [130.81, 196, 261.63, 293.66, 392]
        .map(
          (hz, i) =>
            `${(0.085 / (1 + i * 0.5)).toFixed(4)}*sin(2*PI*${hz + channel * 0.3}*t)*(0.6+0.4*sin(2*PI*${(0.08 + i * 0.03).toFixed(3)}*t+${i * 2 + channel}))`,
        )
        .join('+'),
  },
];

function fail(message) {
  process.stderr.write(`make-titles: ${message}\n`);
  process.exit(1);
}

function ffmpeg(args) {
  const result = spawnSync('ffmpeg', ['-hide_banner', '-loglevel', 'error', '-nostdin', '-y', ...args], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  if (result.error) fail(`ffmpeg could not be started: ${result.error.message}`);
  if (result.status !== 0) fail(`ffmpeg ended with status ${result.status ?? result.signal}.`);
}

function findFont() {
  const match = spawnSync('fc-match', ['-f', '%{file}', 'DejaVu Sans'], { encoding: 'utf8' });
  const candidates = [match.stdout?.trim() ?? '', '/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf'];
  return candidates.find((file) => file !== '' && existsSync(file));
}

function geq({ setup, red, green, blue, alpha }) {
  // The planes are evaluated separately, each with its own variables, so each expression repeats the set-up. A value
  // beyond 255 would wrap round.
  const plane = (expression) => `'${[...setup, `clip(${expression},0,255)`].join(';')}'`;
  const planes = [`r=${plane(red)}`, `g=${plane(green)}`, `b=${plane(blue)}`];
  if (alpha) planes.push(`a=${plane(alpha)}`);
  return `geq=${planes.join(':')}`;
}

function caption(title, font) {
  if (font === undefined) return 'null';
  const escaped = font.replace(/[\\':]/g, '\\$&');
  const style = `fontfile='${escaped}':shadowcolor=black@0.45:shadowx=1:shadowy=1`;
  const name = [...title.name].join(' ');
  return [
    `drawtext=${style}:text='${name}':fontsize=24:fontcolor=white:x=32:y=h-52`,
    `drawtext=${style}:timecode='00\\:00\\:00\\:00':rate=${FRAME_RATE}:fontsize=18:fontcolor=${title.accent}:x=w-tw-32:y=h-49`,
  ].join(',');
}

function videoGraph(title, font) {
  const { width, height } = renditions[0];
  return [
    `color=black:s=${title.backdrop.size}:r=${FRAME_RATE}:d=${title.seconds},format=gbrp,${geq(title.backdrop)},` +
      `scale=${width}:${height}:flags=bicubic[backdrop]`,
    // One frame, repeated: the foreground never moves.
    `color=black:s=${width}x${height}:r=${FRAME_RATE}:d=${1 / FRAME_RATE},format=gbrap,${geq(title.foreground)},` +
      `loop=loop=-1:size=1[foreground]`,
    // A fixed grain hides the banding of an 8-bit gradient and costs next to nothing, being the same in every frame.
    `[backdrop][foreground]overlay=format=gbrp:shortest=1,noise=all_seed=7:alls=3,` +
      `scale=out_color_matrix=bt709:out_range=tv,format=yuv420p,${caption(title, font)},` +
      `setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709[picture]`,
  ].join(';');
}

function soundGraph(title) {
  return (
    `aevalsrc=exprs='${title.sound(0)}|${title.sound(1)}':channel_layout=stereo:s=48000:d=${title.seconds},` +
    `lowpass=f=1400,afade=t=in:d=1.5,afade=t=out:st=${title.seconds - 1.5}:d=1.5`
  );
}

function encode(title, folder, font) {
  const split = renditions.map((_, i) => `[picture${i}]`).join('');
  const scaled = renditions.map(
    ({ width, height }, i) => `[picture${i}]scale=${width}:${height}:flags=lanczos,setsar=1[video${i}]`,
  );
  const sounds = renditions.map((_, i) => `[audio${i}]`).join('');
  const graph = [
    videoGraph(title, font),
    `[picture]split=${renditions.length}${split}`,
    ...scaled,
    `${soundGraph(title)},asplit=${renditions.length}${sounds}`,
  ].join(';');

  const outputs = renditions.flatMap((rendition, i) => {
    const target = join(folder, rendition.folder);
    mkdirSync(target, { recursive: true });
    const gop = String(FRAME_RATE * SEGMENT_SECONDS);
    return [
      ...['-map', `[video${i}]`, '-map', `[audio${i}]`, '-threads', '1'],
      ...['-c:v', 'libx264', '-preset', 'slower', '-profile:v', 'main', '-level:v', rendition.level, '-bf', '0'],
      ...['-crf', `${rendition.crf}`, '-maxrate', `${rendition.maxKbps}k`, '-bufsize', `${rendition.maxKbps * 2}k`],
      ...['-g', gop, '-keyint_min', gop, '-sc_threshold', '0', '-flags:v', '+cgop+bitexact'],
      // Drops the encoder's SEI, which only names its version and settings.
      ...['-bsf:v', 'filter_units=remove_types=6'],
      ...['-c:a', 'aac', '-b:a', `${AUDIO_KBPS}k`, '-ac', '2', '-ar', '48000', '-flags:a', '+bitexact'],
      ...['-map_metadata', '-1', '-fflags', '+bitexact'],
      ...['-f', 'hls', '-hls_time', `${SEGMENT_SECONDS}`, '-hls_playlist_type', 'vod'],
      ...['-hls_segment_type', 'fmp4', '-hls_flags', 'independent_segments', '-hls_fmp4_init_filename', 'init.mp4'],
      ...['-hls_segment_filename', join(target, 'segment-%03d.m4s'), join(target, 'index.m3u8')],
    ];
  });
  ffmpeg(['-filter_complex', graph, ...outputs]);
}

function segmentsOf(folder) {
  const playlist = readFileSync(join(folder, 'index.m3u8'), 'utf8');
  return [...playlist.matchAll(/^#EXTINF:([\d.]+),.*\n(.+)$/gm)].map(([, seconds, name]) => ({
    seconds: Number(seconds),
    bytes: statSync(join(folder, name)).size,
  }));
}

// RFC 6381 name of the video codec: profile, constraints and level, as the decoder configuration record states them.
function avcCodec(initFile) {
  const init = readFileSync(initFile);
  const record = init.indexOf('avcC');
  if (record < 0) fail(`${initFile} holds no H.264 track.`);
  return `avc1.${init.subarray(record + 5, record + 8).toString('hex')}`;
}

function writeMaster(folder) {
  const lines = ['#EXTM3U', '#EXT-X-VERSION:7', '#EXT-X-INDEPENDENT-SEGMENTS'];
  for (const { folder: name, width, height } of renditions) {
    const segments = segmentsOf(join(folder, name));
    const irregular = segments.find(({ seconds }) => seconds !== SEGMENT_SECONDS);
    if (irregular) fail(`${folder} ${name} has a segment of ${irregular.seconds} s.`);
    const rates = segments.map(({ seconds, bytes }) => Math.ceil((bytes * 8) / seconds));
    const average = Math.ceil(rates.reduce((sum, rate) => sum + rate, 0) / rates.length);
    const codecs = `${avcCodec(join(folder, name, 'init.mp4'))},mp4a.40.2`;
    lines.push(
      `#EXT-X-STREAM-INF:BANDWIDTH=${Math.max(...rates)},AVERAGE-BANDWIDTH=${average},RESOLUTION=${width}x${height},` +
        `FRAME-RATE=${FRAME_RATE.toFixed(3)},CODECS="${codecs}"`,
      `${name}/index.m3u8`,
    );
  }
  writeFileSync(join(folder, 'master.m3u8'), `${lines.join('\n')}\n`);
}

function sizeOf(folder) {
  return readdirSync(folder, { withFileTypes: true }).reduce((sum, entry) => {
    const path = join(folder, entry.name);
    return sum + (entry.isDirectory() ? sizeOf(path) : statSync(path).size);
  }, 0);
}

// Before anything is removed.
if (spawnSync('ffmpeg', ['-version']).error) {
  fail('ffmpeg was not found. Install it (Debian: apt install ffmpeg) and see that it is on the PATH.');
}

const font = findFont();
if (font === undefined) process.stderr.write('make-titles: no font found; the titles carry no name and timecode.\n');

for (const title of titles) {
  const folder = join(titlesFolder, title.id);
  rmSync(folder, { recursive: true, force: true });
  encode(title, folder, font);
  writeMaster(folder);
  const still = ['-map_metadata', '-1', '-fflags', '+bitexact', '-flags:v', '+bitexact', '-q:v', '4'];
  ffmpeg([
    ...['-i', join(folder, renditions[0].folder, 'index.m3u8'), '-ss', `${title.posterAt}`],
    ...['-frames:v', '1', '-threads', '1', ...still, join(folder, 'poster.jpg')],
  ]);
  process.stdout.write(`${title.id}: ${title.seconds} s, ${(sizeOf(folder) / 1e6).toFixed(2)} MB\n`);
}
