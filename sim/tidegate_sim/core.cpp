// A Verilated core alone (CoreHarness of harness.py), fed with clips of frames.
//
//     core [--trace FILE] [--waveform FILE] < stimulus > results
//
// Little-endian.  Stimulus: Settings; all registers; weights, LANES times i8 a word; frames of each clip (u32); the
// frames, whole groups of ENCODER_RATE times i16.  Every clip starts from reset and idle.  Results: a Record a frame,
// each followed by its logits (i32).  FILEs: see simulation.h.

#include <vector>

#include "simulation.h"

namespace {

constexpr uint64_t PATIENCE = 1 << 22;      // cycles without a result that mean there will be none
constexpr int AFTERWARDS = 64;              // cycles after a clip in which nothing may come
constexpr size_t COUNTERS = 12 + 2 * COUNTED + 2;  // bytes of a result

#pragma pack(push, 1)
struct Settings {
    uint32_t weight_words, groups, classes, clips;
    uint32_t apart;                         // a frame starts only when the core is idle
    uint32_t stalls;                        // 2**32 times the probability of a stall of each stream in a cycle
    uint64_t seed;
};
struct Record {
    uint64_t start;                         // cycle in which the frame's first group is taken
    uint64_t completion;                    // cycle in which its result becomes valid
    uint8_t counters[COUNTERS];
};
#pragma pack(pop)

template <typename T>
void read_all(T* values, size_t count) {
    if (count && fread(values, sizeof(T), count, stdin) != count) fail("stimulus");
}

template <typename T>
void write_all(const T* values, size_t count) {
    if (count && fwrite(values, sizeof(T), count, stdout) != count) fail("results");
}

class Random {
public:
    explicit Random(uint64_t seed) : state(seed * 2 + 1) {}

    bool below(uint32_t limit) {            // xorshift64*
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        return static_cast<uint32_t>((state * 0x2545F4914F6CDD1DULL) >> 32) < limit;
    }

private:
    uint64_t state;
};

class Core {
public:
    Core(Simulation& s, const Settings& t) : simulation(s), top(s.top), settings(t), random(t.seed) {}

    void load() {
        read_all(reinterpret_cast<uint8_t*>(&top.registers), REGISTER_BYTES);
        top.registers_w = 1;
        simulation.edge();
        top.registers_w = 0;
        std::vector<uint8_t> word(LANES);
        for (uint32_t w = 0; w < settings.weight_words; w++) {
            read_all(word.data(), LANES);
            for (uint32_t lane = 0; lane < LANES; lane++) {
                top.weight_w_en = 1;
                top.weight_w_word = w;
                top.weight_w_lane = lane;
                top.weight_w_data = word[lane];
                simulation.edge();
            }
        }
        top.weight_w_en = 0;
        until_ready();
    }

    void run(uint32_t frames) {
        top.clear = 1;
        simulation.edge();
        top.clear = 0;
        until_ready();
        std::vector<int16_t> values(size_t(frames) * settings.groups * ENCODER_RATE);
        read_all(values.data(), values.size());
        std::vector<uint64_t> starts;
        std::vector<int32_t> logits;
        Record record;
        uint64_t offered = 0, taken = 0, last = simulation.cycles;
        bool waiting = false;               // a result is there and not yet taken
        for (uint32_t done = 0; done < frames;) {
            const uint64_t frame = offered / settings.groups, group = offered % settings.groups;
            const bool turn = !settings.apart || (frame == done && (group || top.ready));
            top.frame_valid = frame < frames && turn && !stall();
            if (top.frame_valid) memcpy(&top.frame, &values[offered * ENCODER_RATE], 2 * ENCODER_RATE);
            offered += top.frame_valid && top.frame_take;
            top.logit_ready = !stall();
            top.result_ready = !stall();
            if (top.frame_moves && taken++ % settings.groups == 0) starts.push_back(simulation.cycles);
            if (top.logit_moves) logits.push_back(static_cast<int32_t>(top.logit));
            if (top.result_valid && !waiting) record.completion = simulation.cycles;
            waiting = top.result_valid && !top.result_moves;
            if (top.result_moves) {
                if (done >= starts.size()) error("has a result before it was taken", done);
                if (logits.size() != settings.classes) error("has another number of logits than classes", done);
                record.start = starts[done];
                memcpy(record.counters, &top.result, COUNTERS);
                write_all(&record, 1);
                write_all(logits.data(), logits.size());
                logits.clear();
                last = simulation.cycles;
                done++;
            }
            if (simulation.cycles - last > PATIENCE) error("has no result after 2**22 cycles", done);
            simulation.edge();
        }
        top.frame_valid = 0;
        top.logit_ready = top.result_ready = 1;
        for (int k = 0; k < AFTERWARDS; k++) {
            if (top.logit_moves) error("is followed by logits of no frame", frames - 1);
            if (top.result_valid) error("is followed by a result of no frame", frames - 1);
            simulation.edge();
        }
        top.logit_ready = top.result_ready = 0;
        until_ready();
    }

private:
    Simulation& simulation;
    Vtop& top;
    const Settings& settings;
    Random random;

    bool stall() { return settings.stalls && random.below(settings.stalls); }

    void until_ready() {
        const uint64_t begin = simulation.cycles;
        do {
            simulation.edge();
            if (simulation.cycles - begin > PATIENCE) error("never left the core, which is not ready", 0);
        } while (!top.ready);
    }

    [[noreturn]] static void error(const char* what, uint32_t frame) {
        fprintf(stderr, "frame %u of a clip %s\n", frame, what);
        exit(1);
    }
};

}  // namespace

int main(int argc, char** argv) {
    const Files files(argc, argv);
    Settings settings;
    read_all(&settings, 1);
    Simulation simulation(files);
    Core core(simulation, settings);
    // load() reads registers and weights, then the lengths of the clips follow
    core.load();
    std::vector<uint32_t> clips(settings.clips);
    read_all(clips.data(), clips.size());
    for (const uint32_t frames : clips) core.run(frames);
    return 0;
}
