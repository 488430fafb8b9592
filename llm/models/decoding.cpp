// A decoding step of a causal model on a CPU: the memory of the weights is read once, nothing else is worth the time.
//
// Weights are bfloat16 or int8 with a scale a row; everything computed with them is float32, keys and values are kept in bfloat16.
// B sequences advance from the same place by T tokens each (one, or a piece of a prompt): B·T rows. Threads share the rows of every
// matrix and meet at six barriers a layer. C width, H heads, D head width, N rows and K columns of a matrix.
// The structs are mirrored in decoding_kernel.py.
#include <omp.h>

#include <cstdint>
#include <cstring>
#ifdef __AVX2__
#include <immintrin.h>
#endif

#ifdef __AVX512F__
constexpr int W = 16;  // floats a vector
#else
constexpr int W = 8;
#endif
typedef float Floats __attribute__((vector_size(4 * W)));
typedef int32_t Ints __attribute__((vector_size(4 * W)));
typedef uint32_t Words __attribute__((vector_size(4 * W)));
typedef uint16_t Halves __attribute__((vector_size(2 * W)));
using bf16 = uint16_t;

struct Matrix { const void *weight; const float *scale, *bias; int64_t rows, columns; };
struct Norm { const float *weight, *bias; };
struct Layer { Norm attention_norm; Matrix qkv; Norm q_norm, k_norm; Matrix out; Norm mlp_norm; Matrix up, down; };
struct Model {
    int64_t n_layers, width, n_heads, n_kv_heads, head_width, hidden;
    float epsilon;
    int32_t int8;
    const float *positions, *cos, *sin;  // learned (T, C), or rotary (T, D/2) twice
    Matrix embedding, head;
    Norm norm;
    const Layer *layers;
};

static inline float wide(float v) { return v; }
static inline float wide(int8_t v) { return v; }
static inline float wide(bf16 v) { uint32_t u = uint32_t(v) << 16; float f; memcpy(&f, &u, 4); return f; }
static inline bf16 narrow(float f) {  // to the nearest, ties to even
    uint32_t u; memcpy(&u, &f, 4);
    return bf16((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}
static inline Floats load(const float *p) { Floats f; memcpy(&f, p, sizeof f); return f; }
static inline Floats load(const bf16 *p) {
    Halves h; memcpy(&h, p, sizeof h);
    return (Floats)(__builtin_convertvector(h, Words) << 16);
}
static inline Floats load(const int8_t *p) {
#if defined(__AVX512F__)
    return (Floats)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
#elif defined(__AVX2__)  // GCC takes a vector of bytes apart, one by one
    return (Floats)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
#else
    Floats f; for (int i = 0; i < W; i++) f[i] = p[i]; return f;
#endif
}
static inline float sum(Floats v) { float s = 0; for (int i = 0; i < W; i++) s += v[i]; return s; }

// e^x within 2 units of the last place (Cephes), for x <= 88; 0 below -87.
static inline Floats exp(Floats x) {
    x = x < -87.0f ? Floats{} - 87.0f : x;
    x = x > 88.0f ? Floats{} + 88.0f : x;
    const Floats shifted = x * 1.44269504f + 12582912.0f;  // 1.5 · 2^23: the whole part stands in the lowest bits
    const Floats whole = shifted - 12582912.0f;
    const Floats r = x - whole * 0.693359375f + whole * 2.12194440e-4f;
    Floats p = Floats{} + 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f; p = p * r + 8.3334519073e-3f; p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f; p = p * r + 5.0000001201e-1f;
    const Ints power = (Ints)shifted << 23;
    return (Floats)((Ints)(p * r * r + r + 1.0f) + power);
}
static inline float exp(float x) { return exp(Floats{} + x)[0]; }

// One row of a matrix (K) times R inputs, which stand `stride` apart.
// One row at a time, not several: a single stream of memory, asked for ahead, comes in twice as fast as two or four.
template <int R, class T>
static inline void dots(const T *w, const float *x, int64_t K, int64_t stride, float out[R]) {
    constexpr int U = R == 1 ? 4 : 2;   // several sums at once hide the time that one addition takes
    constexpr int64_t AHEAD = 4096;     // bytes; a prefetch past the end does no harm
    Floats a[R][U] = {};
    int64_t k = 0;
    for (; k + U * W <= K; k += U * W) {
        __builtin_prefetch((const char *)(w + k) + AHEAD);
        for (int u = 0; u < U; u++) {
            const Floats m = load(w + k + u * W);
            for (int r = 0; r < R; r++) a[r][u] += m * load(x + r * stride + k + u * W);
        }
    }
    for (; k + W <= K; k += W) {
        const Floats m = load(w + k);
        for (int r = 0; r < R; r++) a[r][0] += m * load(x + r * stride + k);
    }
    for (int r = 0; r < R; r++) {
        for (int u = 1; u < U; u++) a[r][0] += a[r][u];
        out[r] = sum(a[r][0]);
        for (int64_t j = k; j < K; j++) out[r] += wide(w[j]) * x[r * stride + j];
    }
}

// Rows from `from` to `to` of a matrix times each of B inputs (B, K): y (B, stride), or onto what stands there.
// Not inlined: one copy a kind of weight, or compiling takes ten seconds.
template <class T>
__attribute__((noinline)) static void multiply(const Matrix &m, const float *x, int64_t B, int64_t from, int64_t to, float *y,
                                               int64_t stride, bool add) {
    const int64_t K = m.columns;
    const T *w = (const T *)m.weight;
    const auto put = [&](int64_t b, int64_t n, float v) {
        v = v * (m.scale ? m.scale[n] : 1.0f) + (m.bias ? m.bias[n] : 0.0f);
        y[b * stride + n] = add ? y[b * stride + n] + v : v;
    };
    for (int64_t n = from; n < to; n++) {
        float found[4];
        int64_t b = 0;
        for (; b + 4 <= B; b += 4) {
            dots<4>(w + n * K, x + b * K, K, K, found);
            for (int r = 0; r < 4; r++) put(b + r, n, found[r]);
        }
        for (; b < B; b++) {
            dots<1>(w + n * K, x + b * K, K, K, found);
            put(b, n, found[0]);
        }
    }
}

// Root mean square normalisation, or that of layers where there is a bias.
static void normalise(const Norm &norm, const float *x, float *y, int64_t C, float epsilon) {
    const auto total = [&](auto of) {
        Floats v = {};
        int64_t c = 0;
        for (; c + W <= C; c += W) v += of(load(x + c));
        float s = sum(v);
        for (; c < C; c++) s += of(Floats{} + x[c])[0];
        return s;
    };
    const float mean = norm.bias ? total([](Floats v) { return v; }) / C : 0.0f;
    const float scale = 1.0f / __builtin_sqrtf(total([&](Floats v) { return (v - mean) * (v - mean); }) / C + epsilon);
    for (int64_t c = 0; c < C; c++) y[c] = (x[c] - mean) * scale * norm.weight[c] + (norm.bias ? norm.bias[c] : 0.0f);
}

static void rotate(const Model &m, float *x, int64_t place) {  // pairs (i, i + D/2)
    const int64_t half = m.head_width / 2;
    const float *cos = m.cos + place * half, *sin = m.sin + place * half;
    for (int64_t i = 0; i < half; i++) {
        const float a = x[i], b = x[i + half];
        x[i] = a * cos[i] - b * sin[i];
        x[i + half] = b * cos[i] + a * sin[i];
    }
}

// What a token leaves in the cache of one key-value head: k and v (D) of its row, and where they go.
static void keep(const Model &m, const Layer &layer, const float *k, const float *v, int64_t place, float *scratch, bf16 *key, bf16 *value) {
    const int64_t D = m.head_width;
    memcpy(scratch, k, D * sizeof(float));
    if (layer.k_norm.weight) normalise(layer.k_norm, scratch, scratch, D, m.epsilon);
    if (m.cos) rotate(m, scratch, place);
    for (int64_t d = 0; d < D; d++) { key[d] = narrow(scratch[d]); value[d] = narrow(v[d]); }
}

// One head of one row: its query (D) against keys and values (max_length, D) up to its own place; y takes D values.
static void attend(const Model &m, const Layer &layer, const float *query, int64_t place, const bf16 *keys, const bf16 *values,
                   float *scratch, float *y) {
    const int64_t D = m.head_width;
    float *q = scratch, *scores = q + D;
    memcpy(q, query, D * sizeof(float));
    if (layer.q_norm.weight) normalise(layer.q_norm, q, q, D, m.epsilon);
    if (m.cos) rotate(m, q, place);
    const float scale = 1.0f / __builtin_sqrtf(float(D));
    int64_t j;
    float most = -3e38f;
    for (j = 0; j <= place; j++) {
        dots<1>(keys + j * D, q, D, D, scores + j);
        scores[j] *= scale;
        most = scores[j] > most ? scores[j] : most;
    }
    float total = 0;
    for (j = 0; j + W <= place + 1; j += W) {
        const Floats e = exp(load(scores + j) - most);
        memcpy(scores + j, &e, sizeof e);
        total += sum(e);
    }
    for (; j <= place; j++) total += scores[j] = exp(scores[j] - most);
    for (int64_t d = 0; d < D; d++) y[d] = 0;
    for (j = 0; j <= place; j++) {
        const float p = scores[j];
        const bf16 *row = values + j * D;
        int64_t d = 0;
        for (; d + W <= D; d += W) {
            const Floats s = load(y + d) + load(row + d) * p;
            memcpy(y + d, &s, sizeof s);
        }
        for (; d < D; d++) y[d] += p * wide(row[d]);
    }
    for (int64_t d = 0; d < D; d++) y[d] /= total;
}

// SiLU(gate) · up, or GELU in its approximation by tanh, which is x · sigmoid(2z): in place of `up` (n).
static void activate(const float *gate, float *up, int64_t n) {
    const auto apply = [&](int64_t i, int64_t count) {
        Floats u = {}, g = {};
        memcpy(&u, up + i, count * sizeof(float));
        if (gate) memcpy(&g, gate + i, count * sizeof(float));
        else g = 1.5957691216f * (u + 0.044715f * u * u * u);
        u = (gate ? g * u : u) / (1.0f + exp(-g));
        memcpy(up + i, &u, count * sizeof(float));
    };
    int64_t i = 0;
    for (; i + W <= n; i += W) apply(i, W);
    if (i < n) apply(i, n - i);
}

template <class Weight>
static void run(const Model &m, int64_t B, int64_t T, const int64_t *ids, int64_t place, int64_t max_length, bf16 *keys, bf16 *values,
                float *logits, float *scratch, int threads) {
    const int64_t C = m.width, D = m.head_width, A = m.n_heads * D, QKV = A + 2 * m.n_kv_heads * D, F = m.hidden, V = m.head.rows, R = B * T;
    const int64_t H = m.n_heads, G = m.n_kv_heads;
    const int64_t U = m.layers[0].up.rows;  // F, or 2·F with the gates first
    float *x = scratch, *qkv = x + R * C, *attended = qkv + R * QKV, *within = attended + R * A, *hidden = within + R * U;
    float *own = hidden + R * F;  // what each thread has for itself
    const int64_t owned = R * C + D + max_length + W;
#pragma omp parallel num_threads(threads)
    {
        const int64_t t = omp_get_thread_num(), n = omp_get_num_threads();
        float *normed = own + t * owned, *mine = normed + R * C;
        const auto first = [&](int64_t rows) { return rows * t / n; };
        const auto last = [&](int64_t rows) { return rows * (t + 1) / n; };
        const auto norm = [&](const Norm &by) {
            for (int64_t r = 0; r < R; r++) normalise(by, x + r * C, normed + r * C, C, m.epsilon);
        };
        const auto kept = [&](int64_t layer, int64_t r, int64_t head) {  // where the head's cache begins
            return ((layer * B + r / T) * G + head) * max_length * D;
        };
        for (int64_t r = 0; r < R; r++)
            for (int64_t c = first(C); c < last(C); c++) {
                const float scale = m.embedding.scale ? m.embedding.scale[ids[r]] : 1.0f;
                x[r * C + c] = wide(((const Weight *)m.embedding.weight)[ids[r] * C + c]) * scale;
                if (m.positions) x[r * C + c] += m.positions[(place + r % T) * C + c];
            }
#pragma omp barrier
        for (int64_t l = 0; l < m.n_layers; l++) {
            const Layer &layer = m.layers[l];
            norm(layer.attention_norm);
            multiply<Weight>(layer.qkv, normed, R, first(QKV), last(QKV), qkv, QKV, false);
#pragma omp barrier
            for (int64_t task = first(R * G); task < last(R * G); task++) {
                const int64_t r = task / G, head = task % G, at = kept(l, r, head) + (place + r % T) * D;
                const float *k = qkv + r * QKV + A + head * D;
                keep(m, layer, k, k + G * D, place + r % T, mine, keys + at, values + at);
            }
#pragma omp barrier
            for (int64_t task = first(R * H); task < last(R * H); task++) {
                const int64_t r = task / H, head = task % H, at = kept(l, r, head / (H / G));
                attend(m, layer, qkv + r * QKV + head * D, place + r % T, keys + at, values + at, mine, attended + r * A + head * D);
            }
#pragma omp barrier
            multiply<Weight>(layer.out, attended, R, first(C), last(C), x, C, true);
#pragma omp barrier
            norm(layer.mlp_norm);
            const int64_t from = first(F), to = last(F);
            multiply<Weight>(layer.up, normed, R, from, to, within, U, false);
            if (U > F) multiply<Weight>(layer.up, normed, R, F + from, F + to, within, U, false);
            for (int64_t r = 0; r < R; r++) {
                float *up = within + r * U + (U - F);
                activate(U > F ? within + r * U + from : nullptr, up + from, to - from);
                memcpy(hidden + r * F + from, up + from, (to - from) * sizeof(float));
            }
#pragma omp barrier
            multiply<Weight>(layer.down, hidden, R, first(C), last(C), x, C, true);
#pragma omp barrier
        }
        for (int64_t b = 0; b < B; b++) normalise(m.norm, x + (b * T + T - 1) * C, normed + b * C, C, m.epsilon);
        multiply<Weight>(m.head, normed, B, first(V), last(V), logits, V, false);
    }
}

// ids (B, T); keys and values (layers, B, H_kv, max_length, D), of which `place` tokens are filled and T are written; logits (B, V) of
// the last token.
extern "C" void decoding_step(const Model *m, int64_t B, int64_t T, const int64_t *ids, int64_t place, int64_t max_length, bf16 *keys,
                              bf16 *values, float *logits, float *scratch, int threads) {
    if (m->int8) run<int8_t>(*m, B, T, ids, place, max_length, keys, values, logits, scratch, threads);
    else run<bf16>(*m, B, T, ids, place, max_length, keys, values, logits, scratch, threads);
}

// Floats of scratch memory that a step of so many rows takes.
extern "C" int64_t decoding_scratch(const Model *m, int64_t rows, int64_t max_length, int threads) {
    const int64_t heads = (2 * m->n_heads + 2 * m->n_kv_heads) * m->head_width;
    return rows * (m->width + heads + m->hidden + m->layers[0].up.rows) + threads * (rows * m->width + m->head_width + max_length + W);
}
