// What the processor can do at most, in registers: fused multiply-adds and the kernels' exponentials, the yardsticks of the kernels.
#include "engine.h"

// The sum of all lanes.
static float total(Vector sums) {
    float sum = 0;
    for (int lane = 0; lane < LANES; lane++) sum += sums[lane];
    return sum;
}

// Runs `rounds` times 10 independent chains of multiply-adds; 2 * 10 * LANES operations a round. Each number of a chain
// nears 1, so that after many rounds the result is how many there are.
extern "C" int64_t multiply_add(int64_t rounds, float* result) {
    const Vector factor = all(0.999f), term = all(0.001f);
    // ten variables and no array: the compiler keeps an array that asm touches in memory, which then sets the pace
    Vector a = all(0), b = all(1), c = all(2), d = all(3), e = all(4), f = all(5), g = all(6), h = all(7), i = all(8), j = all(9);
    auto step = [&](Vector& sum) {
        sum = sum * factor + term;
        HOLD(sum);
    };
    for (int64_t n = 0; n < rounds; n++) {
        step(a), step(b), step(c), step(d), step(e);
        step(f), step(g), step(h), step(i), step(j);
    }
    *result = total(a + b + c + d + e + f + g + h + i + j);
    return 2 * 10 * LANES;
}

// Runs `rounds` times 4 exponentials of vectors and adds them up; 4 * LANES exponentials a round.
extern "C" int64_t exponentiate(int64_t rounds, float* result) {
    Vector a = all(-1.1f), b = all(-2.3f), c = all(-3.7f), d = all(-4.9f), sum{}, other{};
    for (int64_t n = 0; n < rounds; n++) {
        HOLD(a); HOLD(b); HOLD(c); HOLD(d);  // else the compiler would see that they stay the same
        sum += exp2(a) + exp2(b), other += exp2(c) + exp2(d);
    }
    *result = total(sum + other);
    return 4 * LANES;
}
