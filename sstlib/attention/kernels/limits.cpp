// What the processor can do at most: fused multiply-adds in registers, the yardstick of the kernels.
#include "engine.h"

// Runs `rounds` times 10 independent chains of multiply-adds; 2 * 10 * LANES operations a round.
extern "C" int64_t multiply_add(int64_t rounds, float* result) {
    Vector sum[10], factor = all(0.999f), term = all(0.001f);
    for (int i = 0; i < 10; i++) sum[i] = all((float)i);
    for (int64_t n = 0; n < rounds; n++)
        for (int i = 0; i < 10; i++) {
            sum[i] = sum[i] * factor + term;
            HOLD(sum[i]);
        }
    Vector total{};
    for (int i = 0; i < 10; i++) total += sum[i];
    *result = total[0];
    return 2 * 10 * LANES;
}
