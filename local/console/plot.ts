import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import type { IdentityTimeline } from '../../revocation/detect/detection-engine.ts';
import { create } from './dom.ts';
import { minuteOf, number, quantity } from './format.ts';
import { barsOf } from './timeline.ts';

const HEIGHT = 150;
/** Whole requests only, on the axis. */
const STEPS = [1, 2, 5]
  .flatMap((digit) => Array.from({ length: 9 }, (_, power) => digit * 10 ** power))
  .sort((a, b) => a - b);
const CAPTION = 'Requests a minute';

/** The requests of a session minute by minute, one colour for each of its identities, stacked: who fetched at the same time. */
export class Plot {
  readonly element = create('figure', 'plot');
  readonly #caption = create('span', '', CAPTION);
  readonly #canvas = create('div', 'plot-canvas');
  readonly #timeline: IdentityTimeline[];
  readonly #legend: { swatch: HTMLElement; amount: HTMLElement; total: string }[];
  readonly #bars;
  readonly #size = new ResizeObserver(() => this.#fit());
  #plot: uPlot | undefined;

  constructor(timeline: IdentityTimeline[]) {
    this.#timeline = timeline;
    this.#bars = barsOf(timeline);
    this.#legend = timeline.map(({ minutes }) => ({
      swatch: create('span', 'swatch'),
      amount: create('span', 'amount'),
      total: quantity(
        minutes.reduce((sum, [, requests]) => sum + requests, 0),
        'request',
      ),
    }));
    const legend = create('ul', 'legend');
    legend.append(
      ...this.#legend.map(({ swatch, amount }, i) =>
        create('li', '', swatch, create('bdi', '', timeline[i]?.label ?? ''), amount),
      ),
    );
    this.#showAmounts(undefined);
    if (this.#bars.starts.length === 0) {
      this.element.append(create('figcaption', '', 'No timeline was recorded.'));
      return;
    }
    this.#canvas.setAttribute('role', 'img');
    this.#canvas.setAttribute('aria-label', this.#inWords());
    this.element.append(create('figcaption', '', this.#caption), this.#canvas, legend);
    this.#size.observe(this.#canvas);
  }

  /** Draws again with the colours of the style sheet, which change with the colour scheme. */
  redraw(): void {
    this.#plot?.redraw();
  }

  destroy(): void {
    this.#size.disconnect();
    this.#plot?.destroy();
    this.element.remove();
  }

  #inWords(): string {
    const { starts, rates, seconds } = this.#bars;
    const most = starts.reduce((highest, _, bar) => {
      const sum = rates.reduce((total, rate) => total + (rate[bar] ?? 0), 0);
      return Math.max(highest, sum);
    }, 0);
    const begin = minuteOf(starts[0] ?? 0);
    const end = minuteOf((starts.at(-1) ?? 0) + seconds);
    return `${CAPTION} from ${begin} to ${end}: ${quantity(this.#timeline.length, 'viewer')}, together up to ${number(most)}`;
  }

  /** The amounts of a bar in the legend, or those of the whole time. */
  #showAmounts(bar: number | null | undefined): void {
    const start = bar === null || bar === undefined ? undefined : this.#bars.starts[bar];
    this.#caption.textContent = start === undefined ? CAPTION : `${CAPTION} at ${minuteOf(start)}`;
    for (const [i, { amount, total }] of this.#legend.entries()) {
      amount.textContent = start === undefined ? total : number(this.#bars.rates[i]?.[bar ?? 0] ?? 0);
    }
  }

  /** Nothing has a width while its view is not shown. */
  #fit(): void {
    const width = this.#canvas.clientWidth;
    if (width === 0) return;
    if (this.#plot) this.#plot.setSize({ width, height: HEIGHT });
    else this.#plot = this.#draw(width);
  }

  #draw(width: number): uPlot {
    const { starts, rates, seconds } = this.#bars;
    const colour = (name: 'color' | 'borderColor') => () => getComputedStyle(this.#canvas)[name];
    const paths = uPlot.paths.bars?.({ size: [0.86], align: 1 });
    const last = rates.length - 1;
    // Bars are drawn from the ground up, each over the one before: first all identities together, last the first alone.
    const sums = rates.map((_, drawn) =>
      starts.map((__, bar) => {
        if (!rates[last - drawn]?.[bar]) return null;
        return rates.slice(0, last - drawn + 1).reduce((sum, rate) => sum + (rate[bar] ?? 0), 0);
      }),
    );
    const series = rates.map((_, drawn): uPlot.Series => {
      const fill = () => getComputedStyle(this.#legend[last - drawn]?.swatch ?? this.#canvas).backgroundColor;
      return { fill, width: 0, points: { show: false }, ...(paths && { paths }) };
    });
    const axis = { font: '12px system-ui, sans-serif', stroke: colour('color'), ticks: { show: false } };
    return new uPlot(
      {
        width,
        height: HEIGHT,
        padding: [8, 20, 0, 0],
        legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false, setScale: false }, points: { show: false } },
        scales: {
          x: { range: () => [starts[0] ?? 0, (starts.at(-1) ?? 0) + seconds] },
          y: { range: (_, __, most) => [0, Math.max(most ?? 0, 1)] },
        },
        axes: [
          {
            ...axis,
            size: 28,
            grid: { show: false },
            values: (_, times) => times.map((time) => minuteOf(time)),
          },
          {
            ...axis,
            size: 44,
            space: 28,
            incrs: STEPS,
            grid: { stroke: colour('borderColor'), width: 1 },
            values: (_, amounts) => amounts.map((amount) => number(amount)),
          },
        ],
        series: [{}, ...series],
        hooks: { setCursor: [({ cursor }) => this.#showAmounts(cursor.idx)] },
      },
      [starts, ...sums],
      this.#canvas,
    );
  }
}
