import { CONTAINERS } from './containers.ts';
import type { PackagedTitle, Rendition } from './title.ts';

/** Ticks a second of the segment timelines. */
const TIMESCALE = 90_000;

/**
 * The DASH manifest of a title in clear CMAF: a static MPD of one period, its URLs relative (ISO/IEC 23009-1 §5.3.2, profile
 * `isoff-live`). Video renditions are one adaptation set, and each sound is one.
 */
export function manifestMpd(title: PackagedTitle): string {
  const videos = title.renditions.filter(({ type }) => type === 'video');
  const audios = title.renditions.filter(({ type }) => type === 'audio');
  const sets = [...(videos.length > 0 ? [videos] : []), ...audios.map((audio) => [audio])];
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-live:2011" type="static"' +
      ` mediaPresentationDuration="${duration(title.duration)}" minBufferTime="${duration(title.targetDuration)}">`,
    '  <Period id="1" start="PT0S">',
    ...sets.flatMap((renditions, index) => adaptationSet(title, renditions, index + 1)),
    '  </Period>',
    '</MPD>',
    '',
  ].join('\n');
}

function adaptationSet(title: PackagedTitle, renditions: Rendition[], id: number): string[] {
  const [first] = renditions;
  if (!first) return [];
  const row = CONTAINERS[title.container];
  const language = first.language && first.language !== 'und' ? { lang: first.language } : {};
  const tag = attributes({
    id,
    contentType: first.type,
    mimeType: row.mimeType[first.type],
    ...language,
    segmentAlignment: 'true',
    startWithSAP: 1,
  });
  return [
    `    <AdaptationSet${tag}>`,
    ...renditions.flatMap((rendition) => representation(rendition, row.extension)),
    '    </AdaptationSet>',
  ];
}

function representation(rendition: Rendition, extension: string): string[] {
  const { name, codecs, bandwidth, width, height, frameRate, sampleRate, channels, init, segments } = rendition;
  const tag = attributes({
    id: name,
    codecs: codecs.join(','),
    bandwidth,
    width,
    height,
    frameRate: frameRate === undefined ? undefined : fraction(frameRate),
    audioSamplingRate: sampleRate,
  });
  const template = attributes({
    timescale: TIMESCALE,
    initialization: init,
    media: `segment-$Number%05d$.${extension}`,
    startNumber: 1,
  });
  const ticks = (seconds: number) => Math.round(seconds * TIMESCALE);
  const timeline = segments.map(({ start, seconds }) => {
    const t = ticks(start);
    return `            <S t="${t}" d="${ticks(start + seconds) - t}"/>`;
  });
  const configuration =
    '        <AudioChannelConfiguration schemeIdUri="urn:mpeg:dash:23003:3:audio_channel_configuration:2011"' +
    ` value="${channels}"/>`;
  return [
    `      <Representation${tag}>`,
    ...(channels === undefined ? [] : [configuration]),
    `        <BaseURL>${name}/</BaseURL>`,
    `        <SegmentTemplate${template}>`,
    '          <SegmentTimeline>',
    ...timeline,
    '          </SegmentTimeline>',
    '        </SegmentTemplate>',
    '      </Representation>',
  ];
}

/** Names, numbers and codec strings need no escaping in XML (see `PackagedTitleSchema`). */
function attributes(values: Record<string, string | number | undefined>): string {
  return Object.entries(values)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => ` ${name}="${value}"`)
    .join('');
}

/** `xs:duration`. */
function duration(seconds: number): string {
  return `PT${Number(seconds.toFixed(3))}S`;
}

/** Frames a second as a whole number or a fraction. */
function fraction(rate: number): string {
  return Number.isInteger(rate) ? `${rate}` : `${Math.round(rate * 1000)}/1000`;
}
