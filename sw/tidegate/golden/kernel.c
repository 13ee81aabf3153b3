/* The element-wise half of a step of a delta-GRU or delta-LSTM, forward and backward, in one pass each; see kernel.py,
   gru.py and lstm.py.

   Integers are held in float32 and stay below 2**24, so every sum and product of the forward pass is exact, however the
   compiler orders or fuses them.  Compilers vectorise all loops here: rows come in blocks, the arrays of a block do not
   overlap, and table look-ups stand alone. */

#include <math.h>
#include <stdint.h>

/* kernel.py defines SIGMOID_MAX, TANH_MAX, DELTA_MAX and GATE_ONE, from spec/formats.py. */
#define BLOCK 64
#define APART static __attribute__((noinline)) void

struct sizes {
    long batch, hidden;
    float lag;              /* fires if further away than this from the anchor; below 0: always */
    float pre_max, to_candidate, to_signal, one, lsb, pre_lsb;      /* of a GRU */
    float cell_max, cell_one, cell_to_tanh, cell_lsb;               /* of an LSTM's c */
    const float *sigmoid, *tanh;    /* in real units, of -SIGMOID_MAX.. and of -TANH_MAX.. */
};

/* NaN becomes `limit`: as an index it must lie in the table. */
static float clamp(float x, float limit)
{
    x = x < limit ? x : limit;
    return x > -limit ? x : -limit;
}

APART encode_row(const float *restrict v, const float *restrict before, float *restrict after, long elements, float lag)
{
    for (long i = 0; i < elements; i++) {
        float change = v[i] - before[i];
        after[i] = before[i] + (fabsf(change) > lag ? clamp(change, DELTA_MAX) : 0.0f);
    }
}

/* Anchors of a signal x (frames, elements) from `anchor` (elements): out (frames, elements) after each frame. */
void tidegate_encode(const float *x, const float *anchor, float *out, long frames, long elements, float lag)
{
    for (long t = 0; t < frames; t++)
        encode_row(x + t * elements, t ? out + (t - 1) * elements : anchor, out + t * elements, elements, lag);
}

static void look_up(const float *restrict table, const int *restrict index, float *restrict out, int size)
{
    for (int i = 0; i < size; i++)
        out[i] = table[index[i]];
}

APART gates(const struct sizes *restrict s, const float *restrict nx, const float *restrict of_r,
            const float *restrict of_z, const float *restrict of_nh, float *restrict n, float *restrict r,
            float *restrict z, float *restrict nh, int size)
{
    int reset[BLOCK], keep[BLOCK], candidate[BLOCK];
    for (int i = 0; i < size; i++) {
        reset[i] = (int)clamp(floorf(of_r[i]), SIGMOID_MAX) + SIGMOID_MAX;
        keep[i] = (int)clamp(floorf(of_z[i]), SIGMOID_MAX) + SIGMOID_MAX;
    }
    look_up(s->sigmoid, reset, r, size);
    look_up(s->sigmoid, keep, z, size);
    for (int i = 0; i < size; i++) {
        float fed = clamp(floorf(nx[i]), s->pre_max);
        nh[i] = clamp(floorf(of_nh[i]), s->pre_max);
        candidate[i] = (int)clamp(floorf(0.5f + (fed + r[i] * nh[i]) * s->to_candidate), TANH_MAX) + TANH_MAX;
    }
    look_up(s->tanh, candidate, n, size);
}

APART update(const struct sizes *restrict s, const float *restrict n, const float *restrict z,
             const float *restrict noise, const float *restrict before, float *restrict after, float *restrict h,
             int size)
{
    for (int i = 0; i < size; i++) {
        float state = floorf(n[i] * s->one + z[i] * (h[i] - n[i] * s->one) + 0.5f);
        float v = floorf(0.5f + state * s->to_signal) + noise[i];
        after[i] = fabsf(v - before[i]) > s->lag ? v : before[i];
        h[i] = state;
    }
}

APART keep(const float *restrict n, const float *restrict r, const float *restrict z, const float *restrict nh,
           const float *restrict h, int16_t *restrict words, uint8_t *restrict bytes, long hidden, int size)
{
    for (int i = 0; i < size; i++) {
        words[i] = (int16_t)(n[i] * GATE_ONE);
        words[i + hidden] = (int16_t)nh[i];
        words[i + 2 * hidden] = (int16_t)h[i];
        bytes[i] = (uint8_t)(r[i] * GATE_ONE);
        bytes[i + hidden] = (uint8_t)(z[i] * GATE_ONE);
    }
}

/* A frame.  sums (batch, 4, hidden): accumulators of nx, r, z, nh, scaled to their formats, a half added.  before, after
   (batch, hidden): anchors; h: states, replaced by the next ones; noise: added to v, (batch, hidden) or, with noise_step
   0, (hidden) for all.  words (batch, 3, hidden): n, nh and h before the frame, bytes (batch, 2, hidden): r and z, for
   the way back; or 0. */
void tidegate_step(const struct sizes *s, const float *sums, const float *before, float *after, float *h,
                   const float *noise, long noise_step, int16_t *words, uint8_t *bytes)
{
    float n[BLOCK], r[BLOCK], z[BLOCK], nh[BLOCK];
    for (long b = 0; b < s->batch; b++)
        for (long i = 0; i < s->hidden; i += BLOCK) {
            int size = s->hidden - i < BLOCK ? (int)(s->hidden - i) : BLOCK;
            long at = b * s->hidden + i;
            const float *sum = sums + 4 * b * s->hidden + i;
            gates(s, sum, sum + s->hidden, sum + 2 * s->hidden, sum + 3 * s->hidden, n, r, z, nh, size);
            if (words)
                keep(n, r, z, nh, h + at, words + 3 * b * s->hidden + i, bytes + 2 * b * s->hidden + i, s->hidden,
                     size);
            update(s, n, z, noise + b * noise_step + i, before + at, after + at, h + at, size);
        }
}

APART back_block(const struct sizes *restrict s, const float *restrict grad, const float *restrict before,
                 const float *restrict after, const int16_t *restrict words, const uint8_t *restrict bytes,
                 float *restrict held, float *restrict carry, float *restrict g_n, float *restrict g_r,
                 float *restrict g_z, float *restrict g_nh, int size)
{
    long hidden = s->hidden;
    const float grid = 1.0f / GATE_ONE;
    for (int i = 0; i < size; i++) {
        float n = words[i] * grid, nh = words[i + hidden], h = words[i + 2 * hidden] * s->lsb;
        float r = bytes[i] * grid, z = bytes[i + hidden] * grid;
        float g = grad[i] + held[i], fired = s->lag < 0 || after[i] != before[i] ? g : 0.0f;
        float gh = carry[i] + fired;
        float kept = gh * z, gn = (gh - kept) * (1.0f - n * n);
        held[i] = g - fired;
        carry[i] = kept;
        g_n[i] = gn;
        g_r[i] = gn * nh * s->pre_lsb * (r - r * r);
        g_z[i] = gh * (h - n) * (z - z * z);
        g_nh[i] = gn * r;
    }
}

/* The same frame backward.  grad (batch, hidden): of the anchors after it; held, carry (batch, hidden): what the frame
   after it left for anchors and states, and what this one leaves.  sums (batch, 4, hidden): gradients of the
   accumulators. */
void tidegate_step_back(const struct sizes *s, const float *grad, const float *before, const float *after,
                        const int16_t *words, const uint8_t *bytes, float *held, float *carry, float *sums)
{
    for (long b = 0; b < s->batch; b++)
        for (long i = 0; i < s->hidden; i += BLOCK) {
            int size = s->hidden - i < BLOCK ? (int)(s->hidden - i) : BLOCK;
            long at = b * s->hidden + i;
            float *sum = sums + 4 * b * s->hidden + i;
            back_block(s, grad + at, before + at, after + at, words + 3 * b * s->hidden + i,
                       bytes + 2 * b * s->hidden + i, held + at, carry + at, sum, sum + s->hidden,
                       sum + 2 * s->hidden, sum + 3 * s->hidden, size);
        }
}

APART lstm_gates(const struct sizes *restrict s, const float *restrict of_o, const float *restrict of_i,
                 const float *restrict of_f, const float *restrict of_g, float *restrict o, float *restrict i,
                 float *restrict f, float *restrict g, int size)
{
    int send[BLOCK], add[BLOCK], keep[BLOCK], candidate[BLOCK];
    for (int k = 0; k < size; k++) {
        send[k] = (int)clamp(floorf(of_o[k]), SIGMOID_MAX) + SIGMOID_MAX;
        add[k] = (int)clamp(floorf(of_i[k]), SIGMOID_MAX) + SIGMOID_MAX;
        keep[k] = (int)clamp(floorf(of_f[k]), SIGMOID_MAX) + SIGMOID_MAX;
        candidate[k] = (int)clamp(floorf(of_g[k]), TANH_MAX) + TANH_MAX;
    }
    look_up(s->sigmoid, send, o, size);
    look_up(s->sigmoid, add, i, size);
    look_up(s->sigmoid, keep, f, size);
    look_up(s->tanh, candidate, g, size);
}

APART lstm_cell(const struct sizes *restrict s, const float *restrict i, const float *restrict f,
                const float *restrict g, float *restrict c, float *restrict squashed, int size)
{
    int argument[BLOCK];
    for (int k = 0; k < size; k++) {
        float state = clamp(floorf(f[k] * c[k] + i[k] * g[k] * s->cell_one + 0.5f), s->cell_max);
        argument[k] = (int)clamp(floorf(state * s->cell_to_tanh + 0.5f), TANH_MAX) + TANH_MAX;
        c[k] = state;
    }
    look_up(s->tanh, argument, squashed, size);
}

APART lstm_send(const struct sizes *restrict s, const float *restrict o, const float *restrict squashed,
                const float *restrict noise, const float *restrict before, float *restrict after, int size)
{
    for (int k = 0; k < size; k++) {
        float v = floorf(o[k] * squashed[k] * GATE_ONE + 0.5f) + noise[k];
        after[k] = fabsf(v - before[k]) > s->lag ? v : before[k];
    }
}

APART lstm_keep(const float *restrict o, const float *restrict i, const float *restrict f, const float *restrict g,
                const float *restrict squashed, int16_t *restrict words, uint8_t *restrict bytes, long hidden, int size)
{
    for (int k = 0; k < size; k++) {
        words[k] = (int16_t)(g[k] * GATE_ONE);
        words[k + hidden] = (int16_t)(squashed[k] * GATE_ONE);
        bytes[k] = (uint8_t)(o[k] * GATE_ONE);
        bytes[k + hidden] = (uint8_t)(i[k] * GATE_ONE);
        bytes[k + 2 * hidden] = (uint8_t)(f[k] * GATE_ONE);
    }
}

APART lstm_keep_state(const float *restrict c, int16_t *restrict words, int size)
{
    for (int k = 0; k < size; k++)
        words[k] = (int16_t)c[k];
}

/* A frame of an LSTM, as tidegate_step.  sums (batch, 4, hidden): accumulators of o, i, f, g; h: states c.  words (batch,
   3, hidden): g, tanh(c) after the frame and c before it, bytes (batch, 3, hidden): o, i and f. */
void tidegate_lstm_step(const struct sizes *s, const float *sums, const float *before, float *after, float *h,
                        const float *noise, long noise_step, int16_t *words, uint8_t *bytes)
{
    float o[BLOCK], i[BLOCK], f[BLOCK], g[BLOCK], squashed[BLOCK];
    for (long b = 0; b < s->batch; b++)
        for (long k = 0; k < s->hidden; k += BLOCK) {
            int size = s->hidden - k < BLOCK ? (int)(s->hidden - k) : BLOCK;
            long at = b * s->hidden + k, kept = 3 * b * s->hidden + k;
            const float *sum = sums + 4 * b * s->hidden + k;
            lstm_gates(s, sum, sum + s->hidden, sum + 2 * s->hidden, sum + 3 * s->hidden, o, i, f, g, size);
            if (words)
                lstm_keep_state(h + at, words + kept + 2 * s->hidden, size);
            lstm_cell(s, i, f, g, h + at, squashed, size);
            if (words)
                lstm_keep(o, i, f, g, squashed, words + kept, bytes + kept, s->hidden, size);
            lstm_send(s, o, squashed, noise + b * noise_step + k, before + at, after + at, size);
        }
}

APART lstm_back_block(const struct sizes *restrict s, const float *restrict grad, const float *restrict before,
                      const float *restrict after, const int16_t *restrict words, const uint8_t *restrict bytes,
                      float *restrict held, float *restrict carry, float *restrict g_o, float *restrict g_i,
                      float *restrict g_f, float *restrict g_g, int size)
{
    long hidden = s->hidden;
    const float grid = 1.0f / GATE_ONE;
    for (int k = 0; k < size; k++) {
        float g = words[k] * grid, squashed = words[k + hidden] * grid, c = words[k + 2 * hidden] * s->cell_lsb;
        float o = bytes[k] * grid, i = bytes[k + hidden] * grid, f = bytes[k + 2 * hidden] * grid;
        float whole = grad[k] + held[k], fired = s->lag < 0 || after[k] != before[k] ? whole : 0.0f;
        float of_c = carry[k] + fired * o * (1.0f - squashed * squashed);
        held[k] = whole - fired;
        carry[k] = of_c * f;
        g_o[k] = fired * squashed * (o - o * o);
        g_i[k] = of_c * g * (i - i * i);
        g_f[k] = of_c * c * (f - f * f);
        g_g[k] = of_c * i * (1.0f - g * g);
    }
}

/* The same frame backward, as tidegate_step_back. */
void tidegate_lstm_step_back(const struct sizes *s, const float *grad, const float *before, const float *after,
                             const int16_t *words, const uint8_t *bytes, float *held, float *carry, float *sums)
{
    for (long b = 0; b < s->batch; b++)
        for (long k = 0; k < s->hidden; k += BLOCK) {
            int size = s->hidden - k < BLOCK ? (int)(s->hidden - k) : BLOCK;
            long at = b * s->hidden + k, kept = 3 * b * s->hidden + k;
            float *sum = sums + 4 * b * s->hidden + k;
            lstm_back_block(s, grad + at, before + at, after + at, words + kept, bytes + kept, held + at, carry + at,
                            sum, sum + s->hidden, sum + 2 * s->hidden, sum + 3 * s->hidden, size);
        }
}

APART count_row(const float *restrict before, const float *restrict after, long hidden, float *restrict count)
{
    float fired = 0.0f;
    for (long i = 0; i < hidden; i++)
        fired += after[i] != before[i] ? 1.0f : 0.0f;
    *count = fired;
}

/* Events, counts (frames, batch), that made these anchors (frames, batch, hidden) from `start` (batch, hidden). */
void tidegate_count(const float *anchors, const float *start, float *counts, long frames, long batch, long hidden)
{
    for (long row = 0; row < frames * batch; row++)
        count_row(row < batch ? start + row * hidden : anchors + (row - batch) * hidden, anchors + row * hidden, hidden,
                  counts + row);
}

APART price_row(const float *restrict before, const float *restrict now, const float *restrict after, float in,
                float out, float *restrict grad, long hidden)
{
    for (long i = 0; i < hidden; i++) {
        float up = (now[i] > before[i] ? in : 0.0f) - (now[i] < before[i] ? in : 0.0f);
        grad[i] = up - (after[i] > now[i] ? out : 0.0f) + (after[i] < now[i] ? out : 0.0f);
    }
}

/* Gradient of the distance that anchors move, summed with the weights `price` (frames, batch). */
void tidegate_price(const float *anchors, const float *start, const float *price, float *grad, long frames, long batch,
                    long hidden)
{
    long rows = frames * batch;
    for (long row = 0; row < rows; row++) {
        const float *now = anchors + row * hidden;
        int last = row >= rows - batch;
        price_row(row < batch ? start + row * hidden : now - batch * hidden, now, last ? now : now + batch * hidden,
                  price[row], last ? 0.0f : price[row + batch], grad + row * hidden, hidden);
    }
}
