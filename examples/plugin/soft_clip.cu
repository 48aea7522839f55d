// SoftClip: y = limit * tanh(x * scale[channel] / limit), as a TensorRT plugin (IPluginV2DynamicExt, 8.6 to 11).
//
// Inputs: x (N, C, ...) and scale (C), both float32 or both float16. Attribute: limit, a float.

#include <NvInferRuntime.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include <cstring>
#include <new>
#include <string>

namespace soft_clip // not a nameless one: TensorRT's headers have such, which nvcc then takes for it
{

using namespace nvinfer1;

constexpr char const* kName = "SoftClip";
constexpr char const* kVersion = "1";

template <typename T>
__global__ void softClip(T const* x, T const* scale, T* y, int64_t count, int64_t channels, int64_t inner, float limit)
{
    int64_t const i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i < count)
    {
        float const scaled = static_cast<float>(x[i]) * static_cast<float>(scale[i / inner % channels]);
        y[i] = static_cast<T>(limit * tanhf(scaled / limit));
    }
}

template <typename T>
cudaError_t launch(void const* const* inputs, void* output, int64_t count, int64_t channels, int64_t inner, float limit,
    cudaStream_t stream)
{
    auto const blocks = static_cast<unsigned>((count + 255) / 256);
    softClip<T><<<blocks, 256, 0, stream>>>(static_cast<T const*>(inputs[0]), static_cast<T const*>(inputs[1]),
        static_cast<T*>(output), count, channels, inner, limit);
    return cudaGetLastError();
}

class SoftClip final : public IPluginV2DynamicExt
{
public:
    explicit SoftClip(float limit)
        : mLimit(limit)
    {
    }

    IPluginV2DynamicExt* clone() const noexcept override
    {
        return new (std::nothrow) SoftClip(*this);
    }

    DimsExprs getOutputDimensions(int32_t, DimsExprs const* inputs, int32_t, IExprBuilder&) noexcept override
    {
        return inputs[0];
    }

    DataType getOutputDataType(int32_t, DataType const* inputs, int32_t) const noexcept override
    {
        return inputs[0];
    }

    bool supportsFormatCombination(
        int32_t position, PluginTensorDesc const* all, int32_t inputs, int32_t outputs) noexcept override
    {
        PluginTensorDesc const& one = all[position];
        bool const isKnown = one.type == DataType::kFLOAT || one.type == DataType::kHALF;
        return inputs == 2 && outputs == 1 && isKnown && one.format == TensorFormat::kLINEAR
            && one.type == all[0].type;
    }

    void configurePlugin(
        DynamicPluginTensorDesc const*, int32_t, DynamicPluginTensorDesc const*, int32_t) noexcept override
    {
    }

    size_t getWorkspaceSize(PluginTensorDesc const*, int32_t, PluginTensorDesc const*, int32_t) const noexcept override
    {
        return 0;
    }

    int32_t enqueue(PluginTensorDesc const* described, PluginTensorDesc const*, void const* const* inputs,
        void* const* outputs, void*, cudaStream_t stream) noexcept override
    {
        Dims const& shape = described[0].dims;
        int64_t count = 1;
        int64_t inner = 1;
        for (int32_t axis = 0; axis < shape.nbDims; ++axis)
        {
            count *= shape.d[axis];
            inner *= axis > 1 ? shape.d[axis] : 1;
        }
        if (count == 0)
        {
            return 0;
        }
        auto const run = described[0].type == DataType::kHALF ? launch<__half> : launch<float>;
        return run(inputs, outputs[0], count, shape.d[1], inner, mLimit, stream) == cudaSuccess ? 0 : 1;
    }

    char const* getPluginType() const noexcept override
    {
        return kName;
    }

    char const* getPluginVersion() const noexcept override
    {
        return kVersion;
    }

    int32_t getNbOutputs() const noexcept override
    {
        return 1;
    }

    int32_t initialize() noexcept override
    {
        return 0;
    }

    void terminate() noexcept override {}

    size_t getSerializationSize() const noexcept override
    {
        return sizeof(mLimit);
    }

    void serialize(void* buffer) const noexcept override
    {
        std::memcpy(buffer, &mLimit, sizeof(mLimit));
    }

    void destroy() noexcept override
    {
        delete this;
    }

    void setPluginNamespace(char const* name) noexcept override
    {
        mNamespace = name == nullptr ? "" : name;
    }

    char const* getPluginNamespace() const noexcept override
    {
        return mNamespace.c_str();
    }

private:
    float mLimit;
    std::string mNamespace;
};

class SoftClipCreator final : public IPluginCreator
{
public:
    SoftClipCreator()
    {
        mFields.nbFields = 1;
        mFields.fields = &mLimit;
    }

    char const* getPluginName() const noexcept override
    {
        return kName;
    }

    char const* getPluginVersion() const noexcept override
    {
        return kVersion;
    }

    PluginFieldCollection const* getFieldNames() noexcept override
    {
        return &mFields;
    }

    IPluginV2* createPlugin(char const*, PluginFieldCollection const* given) noexcept override
    {
        for (int32_t i = 0; i < given->nbFields; ++i)
        {
            PluginField const& field = given->fields[i];
            if (std::strcmp(field.name, "limit") == 0 && field.type == PluginFieldType::kFLOAT32)
            {
                return named(*static_cast<float const*>(field.data));
            }
        }
        return nullptr; // it has no value of its own
    }

    IPluginV2* deserializePlugin(char const*, void const* data, size_t length) noexcept override
    {
        float limit;
        if (length != sizeof(limit))
        {
            return nullptr;
        }
        std::memcpy(&limit, data, sizeof(limit));
        return named(limit);
    }

    void setPluginNamespace(char const* name) noexcept override
    {
        mNamespace = name == nullptr ? "" : name;
    }

    char const* getPluginNamespace() const noexcept override
    {
        return mNamespace.c_str();
    }

private:
    IPluginV2* named(float limit) const
    {
        auto* const made = new (std::nothrow) SoftClip(limit);
        if (made != nullptr)
        {
            made->setPluginNamespace(mNamespace.c_str());
        }
        return made;
    }

    PluginField mLimit{"limit", nullptr, PluginFieldType::kFLOAT32, 1};
    PluginFieldCollection mFields{};
    std::string mNamespace;
};

REGISTER_TENSORRT_PLUGIN(SoftClipCreator); // when the library is loaded

} // namespace soft_clip
