import type { Examination } from './examination.ts';

/** URLs of an MPD (ISO/IEC 23009-1 §5): elements that hold one, and attributes that are one. */
const URLS =
  /<(?:BaseURL|Location|PatchLocation)\b[^<>]*>([^<]*)<|\b(?:media|initialization|sourceURL|index|xlink:href)="([^"]*)"/g;

/** Checks what of an MPD can lead away from the token: its URLs. Templates are not expanded. */
export async function lintMpd(text: string, base: URL, examination: Examination): Promise<void> {
  let folder = base;
  const lineAt = lineCounter(text);
  for (const match of text.matchAll(URLS)) {
    const [, element, attribute] = match;
    const uri = (element ?? attribute ?? '').trim().replaceAll('&amp;', '&');
    const line = lineAt(match.index);
    if (uri === '') continue;
    const url = examination.follow(uri, element === undefined ? folder : base, line);
    if (!url) continue;
    if (element !== undefined) folder = url;
    else if (!uri.includes('$')) await examination.requireThere(url, { url: base, line });
  }
  const [, ...sets] = text.split(/<AdaptationSet\b/).map((set) => set.split('</AdaptationSet>', 1)[0] ?? '');
  if (text.includes('<ContentProtection') && sets.some((set) => !set.includes('<ContentProtection'))) {
    const detail = 'an AdaptationSet without ContentProtection beside others with';
    examination.note('mixed-encryption', { url: base }, detail);
  }
}

/** The line of a position, from 1, for positions that come in order. */
function lineCounter(text: string): (position: number) => number {
  let [line, next] = [1, text.indexOf('\n')];
  return (position) => {
    for (; next >= 0 && next < position; next = text.indexOf('\n', next + 1)) line++;
    return line;
  };
}
