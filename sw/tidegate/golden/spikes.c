/* Frames of a network of integrate-and-fire neurons, event by event; see spikes.py.

   What a neuron sends goes into a list, and each entry of it adds its weights to the sums of the layers that hear it.
   All is in integers, so the order does not matter.  spikes.py defines SIGNAL_MAX, from spec/formats.py. */

#include <stdint.h>
#include <string.h>

enum { DENSE, CONVOLUTION, DEPTHWISE };

/* What a signal feeds.  Weights are times the signal's step; rows of as many as the layer has channels:
   [element] of a dense one, [channel][ky][kx from the last one on] of a convolution, [ky][kx from the last] of a
   depthwise one. */
struct feed {
    const int32_t *weights;
    long signal, kind, channels, width, kernel, stride, padding, rows, columns, outputs;
};

/* `shift`: of sums on their way to the signal; theta, step: of what the layer sends. */
struct layer {
    struct feed feeds[2];
    const int32_t *bias;
    long heard, size, shift, theta, step;
};

/* fan_out[i]: weights that an event of element i reads. */
struct signal {
    int32_t *memory, *list;
    const int32_t *fan_out;
    long elements, events;
};

static inline void add(int32_t *restrict sums, const int32_t *restrict weights, long n)
{
    for (; n >= 16; n -= 16, sums += 16, weights += 16)
        for (int i = 0; i < 16; i++)
            sums[i] += weights[i];
    for (long i = 0; i < n; i++)
        sums[i] += weights[i];
}

/* The first output of a kernel that reaches a row or column of the padded image; strides are powers of two. */
static inline int first_of(int at, int kernel, int shift)
{
    int past = at - kernel + 1;
    return past <= 0 ? 0 : (past + (1 << shift) - 1) >> shift;
}

static void add_image(const struct feed *f, const struct signal *heard, int32_t *sums)
{
    int k = (int)f->kernel, n = (int)f->outputs, columns = (int)f->columns, padding = (int)f->padding;
    int rows = (int)f->rows, shift = f->stride == 4 ? 2 : (int)f->stride - 1, depthwise = f->kind == DEPTHWISE;
    unsigned channels = (unsigned)f->channels, width = (unsigned)f->width;
    for (long e = 0; e < heard->events; e++) {
        unsigned element = (unsigned)heard->list[e], pixel = element / channels, c = element - pixel * channels;
        int above = (int)(pixel / width), y = above + padding, x = (int)(pixel - above * width) + padding;
        int left = first_of(x, k, shift), right = x >> shift < columns - 1 ? x >> shift : columns - 1;
        for (int row = first_of(y, k, shift); row < rows && row << shift <= y; row++) {
            int ky = y - (row << shift);
            int32_t *to = sums + ((long)row * columns + left) * n;
            const int32_t *w = f->weights + ((long)((depthwise ? 0 : (int)c * k) + ky) * k + k - 1 - x) * n;
            if (depthwise)
                for (int column = left; column <= right; column++, to += n)
                    to[c] += w[(long)(column << shift) * n + c];
            else if (!shift)            /* neighbours hear neighbouring weights */
                add(to, w + (long)left * n, right < left ? 0 : (long)(right - left + 1) * n);
            else
                for (int column = left; column <= right; column++, to += n)
                    add(to, w + (long)(column << shift) * n, n);
        }
    }
}

static void add_all(const struct feed *f, const struct signal *heard, int32_t *sums)
{
    if (f->kind != DENSE) {
        add_image(f, heard, sums);
        return;
    }
    for (long e = 0; e < heard->events; e++)
        add(sums, f->weights + heard->list[e] * f->outputs, f->outputs);
}

static inline int32_t clamp(int32_t x)
{
    x = x < SIGNAL_MAX ? x : SIGNAL_MAX;
    return x > -SIGNAL_MAX ? x : -SIGNAL_MAX;
}

/* Adds values to the potentials; `fired`: which elements spike, and 0 up to a multiple of 8. */
static void fire(const int32_t *restrict values, int32_t *restrict memory, uint8_t *restrict fired, long n, long shift,
                 int32_t theta, int32_t step)
{
    int32_t half = shift ? 1 << (shift - 1) : 0;
    for (long i = 0; i < n; i++) {
        int32_t u = clamp((values[i] + half) >> shift) + memory[i], spiked = u >= theta;
        memory[i] = clamp(u - (spiked ? step : 0));
        fired[i] = (uint8_t)spiked;
    }
}

static void collect(struct signal *s, const uint8_t *fired)
{
    long n = 0;
    for (long i = 0; i < s->elements; i += 8) {
        uint64_t eight;
        memcpy(&eight, fired + i, 8);
        if (eight)
            for (long j = i; j < i + 8 && j < s->elements; j++) {
                s->list[n] = (int32_t)j;
                n += fired[j];
            }
    }
    s->events = n;
}

/* `layers`: the last one is the classifier.  frames (steps, features); sums: as many as the largest layer has; fired: as
   many bytes as the largest signal has, and 8; logits (steps, classes), events (steps, signals), weights (steps). */
void tidegate_spikes(const struct layer *layers, long count, struct signal *signals, const int32_t *frames,
                     long frame_step, long steps, int32_t theta, int32_t step, int32_t *sums, uint8_t *fired,
                     int32_t *logits, int32_t *events, int32_t *weights)
{
    for (long s = 0; s < count; s++)
        memset(signals[s].memory, 0, sizeof(int32_t) * signals[s].elements);
    for (long t = 0; t < steps; t++) {
        for (long l = -1; l < count; l++) {
            const int32_t *values = frames + t * frame_step;
            if (l >= 0) {
                const struct layer *layer = layers + l;
                int32_t *out = l == count - 1 ? logits + t * layer->size : sums;
                memcpy(out, layer->bias, sizeof(int32_t) * layer->size);
                for (long k = 0; k < layer->heard; k++)
                    add_all(layer->feeds + k, signals + layer->feeds[k].signal, out);
                if (l == count - 1)
                    break;
                values = out;
            }
            struct signal *s = signals + l + 1;
            memset(fired + s->elements / 8 * 8, 0, 8);
            fire(values, s->memory, fired, s->elements, l < 0 ? 0 : layers[l].shift,
                 l < 0 ? theta : (int32_t)layers[l].theta, l < 0 ? step : (int32_t)layers[l].step);
            collect(s, fired);
            events[t * count + l + 1] = (int32_t)s->events;
            for (long e = 0; e < s->events; e++)
                weights[t] += s->fan_out[s->list[e]];
        }
    }
}
