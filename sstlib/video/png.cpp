// Undoes the row filters of a PNG of one channel and at most 8 bits (PNG specification, section 9).

#include <cstdint>
#include <cstdlib>

extern "C" int sst_unfilter(const uint8_t* raw, int64_t height, int64_t stride, uint8_t* out) {
    for (int64_t y = 0; y < height; ++y, raw += stride + 1, out += stride) {
        const uint8_t* row = raw + 1;
        const uint8_t* above = y ? out - stride : nullptr;
        uint8_t left = 0, corner = 0;
        switch (raw[0]) {
            case 0:
                for (int64_t x = 0; x < stride; ++x) out[x] = row[x];
                break;
            case 1:
                for (int64_t x = 0; x < stride; ++x) out[x] = left = static_cast<uint8_t>(left + row[x]);
                break;
            case 2:
                for (int64_t x = 0; x < stride; ++x) out[x] = static_cast<uint8_t>(row[x] + (above ? above[x] : 0));
                break;
            case 3:
                for (int64_t x = 0; x < stride; ++x)
                    out[x] = left = static_cast<uint8_t>(row[x] + (left + (above ? above[x] : 0)) / 2);
                break;
            case 4:
                for (int64_t x = 0; x < stride; ++x) {
                    const int up = above ? above[x] : 0, a = std::abs(up - corner), b = std::abs(left - corner);
                    const int c = std::abs(left + up - 2 * corner);
                    out[x] = static_cast<uint8_t>(row[x] + (a <= b && a <= c ? left : b <= c ? up : corner));
                    left = out[x];
                    corner = static_cast<uint8_t>(up);
                }
                break;
            default:
                return 1;
        }
    }
    return 0;
}
