// The stand-in network. Its mask is the index of each pixel's brightest channel, the first of equal
// ones, as numpy's argmax. One execution is, in this order on one stream:
//
//   poison_output    every byte of the output becomes control.poison
//   spin(0)          the GPU is busy for control.delay_ns[0]
//   stream_through   control.stream_bytes of the scratch memory are read and written
//   brightest        frame to scratch memory
//   spin(1)          the GPU is busy for control.delay_ns[1], with the masks in the scratch memory
//   deliver          scratch memory to output
//
// What a test changes from frame to frame lies in `control`: a CUDA graph freezes arguments.

struct Control {
    unsigned long long delay_ns[2];
    unsigned long long stream_bytes;
    unsigned int poison;
    unsigned int unused;
};

__device__ Control control;

#define THREAD ((unsigned long long)blockIdx.x * blockDim.x + threadIdx.x)
#define THREADS ((unsigned long long)gridDim.x * blockDim.x)

__device__ unsigned long long now_ns() {
    unsigned long long time;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(time));
    return time;
}

extern "C" __global__ void poison_output(unsigned char* output, unsigned long long pixels) {
    for (unsigned long long i = THREAD; i < pixels; i += THREADS) output[i] = control.poison;
}

extern "C" __global__ void spin(unsigned int which) {
    const unsigned long long start = now_ns(), delay = control.delay_ns[which];
    while (now_ns() - start < delay) {
    }
}

// Memory-bound: every multiprocessor reads and writes as fast as the memory lets it.
extern "C" __global__ void stream_through(uint4* scratch, unsigned long long vectors) {
    unsigned long long left = control.stream_bytes / sizeof(uint4);
    while (left > 0) {
        const unsigned long long pass = left < vectors ? left : vectors;
        for (unsigned long long i = THREAD; i < pass; i += THREADS) {
            uint4 value = scratch[i];
            value.x ^= 1;
            scratch[i] = value;
        }
        left -= pass;
    }
}

extern "C" __global__ void brightest(const unsigned char* frame, unsigned char* scratch,
                                     unsigned long long pixels) {
    for (unsigned long long i = THREAD; i < pixels; i += THREADS) {
        const unsigned char* channels = frame + 3 * i;
        unsigned char best = channels[1] > channels[0] ? 1 : 0;
        scratch[i] = channels[2] > channels[best] ? 2 : best;
    }
}

extern "C" __global__ void deliver(const unsigned char* scratch, unsigned char* output,
                                   unsigned long long pixels) {
    for (unsigned long long i = THREAD; i < pixels; i += THREADS) output[i] = scratch[i];
}
