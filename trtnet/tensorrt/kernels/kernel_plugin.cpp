// A CUDA kernel as a TensorRT plugin (IPluginV2DynamicExt): the code that was compiled elsewhere, and how to launch it.
//
// It is built once against the headers of the TensorRT at hand, by trtnet/tensorrt/kernels/shim.py. It links against
// nothing: the CUDA driver is found when it is first needed, and TensorRT's registry where the process has it. Out of a
// plan TensorRT loads it by getPluginCreators.
//
// The attribute "launch" is text of words:
//
//     trtnet-kernel 1 <function>
//     inputs <count> <type>...
//     outputs <count> (<type> <rank> <size>...)...
//     grid <size> <size> <size> block <size> <size> <size> shared <size>
//     arguments <count> (<type> <size or number>)...
//
// A size is an expression in postfix form that ends in ";": numbers, d0,1 (size 1 of input 0), + * / % max min.

#include <NvInferRuntime.h>

#include <dlfcn.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace
{

using namespace nvinfer1;

constexpr char const* kName = "TrtnetKernel";
constexpr char const* kVersion = "1";

// --- the CUDA driver, by its C functions

struct Driver
{
    int (*getContext)(void**);
    int (*loadModule)(void**, void const*);
    int (*unloadModule)(void*);
    int (*getFunction)(void**, void*, char const*);
    int (*setAttribute)(void*, int, int);
    int (*launch)(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**, void**);
    int (*errorText)(int, char const**);

    Driver()
    {
        void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
        if (library == nullptr)
        {
            throw std::runtime_error("the CUDA driver, libcuda.so.1, is not there");
        }
        find(library, "cuCtxGetCurrent", getContext);
        find(library, "cuModuleLoadData", loadModule);
        find(library, "cuModuleUnload", unloadModule);
        find(library, "cuModuleGetFunction", getFunction);
        find(library, "cuFuncSetAttribute", setAttribute);
        find(library, "cuLaunchKernel", launch);
        find(library, "cuGetErrorString", errorText);
    }

    template <typename F>
    static void find(void* library, char const* name, F& function)
    {
        function = reinterpret_cast<F>(dlsym(library, name));
        if (function == nullptr)
        {
            throw std::runtime_error(std::string("the CUDA driver has no ") + name);
        }
    }

    void check(int result, char const* what) const
    {
        if (result != 0)
        {
            char const* text = nullptr;
            errorText(result, &text);
            throw std::runtime_error(std::string(what) + ": " + (text == nullptr ? "an unknown error" : text));
        }
    }

    static Driver const& get()
    {
        static Driver const driver;
        return driver;
    }
};

// --- sizes

struct Word
{
    enum class Kind
    {
        kNumber,
        kDimension,
        kAdd,
        kMultiply,
        kDivide,
        kRemainder,
        kMaximum,
        kMinimum
    };
    Kind kind;
    int64_t first;
    int64_t second;
};

int64_t floorDivide(int64_t a, int64_t b)
{
    if (b == 0)
    {
        throw std::runtime_error("a size is divided by 0");
    }
    return a / b - ((a % b != 0) && ((a % b < 0) != (b < 0)) ? 1 : 0);
}

class Size
{
public:
    static Size read(std::istream& text)
    {
        Size made;
        std::string word;
        int64_t depth = 0;
        while (text >> word && word != ";")
        {
            made.mWords.push_back(parse(word));
            depth += made.mWords.back().kind <= Word::Kind::kDimension ? 1 : -1;
            if (depth < 1)
            {
                throw std::runtime_error("a size that is no expression");
            }
        }
        if (word != ";" || depth != 1)
        {
            throw std::runtime_error("a size that is no expression");
        }
        return made;
    }

    //! The number, at the shapes of the inputs.
    int64_t at(PluginTensorDesc const* inputs, size_t count) const
    {
        std::vector<int64_t> stack;
        for (Word const& word : mWords)
        {
            if (word.kind == Word::Kind::kNumber)
            {
                stack.push_back(word.first);
            }
            else if (word.kind == Word::Kind::kDimension)
            {
                require(word, static_cast<int64_t>(count), inputs[word.first].dims.nbDims);
                stack.push_back(inputs[word.first].dims.d[word.second]);
            }
            else
            {
                int64_t const b = stack.back();
                stack.pop_back();
                stack.back() = compute(word.kind, stack.back(), b);
            }
        }
        return stack.back();
    }

    //! The same for TensorRT, while it builds.
    IDimensionExpr const* of(DimsExprs const* inputs, size_t count, IExprBuilder& builder) const
    {
        using Op = DimensionOperation;
        std::vector<IDimensionExpr const*> stack;
        for (Word const& word : mWords)
        {
            if (word.kind == Word::Kind::kNumber)
            {
                stack.push_back(builder.constant(static_cast<int32_t>(word.first)));
                continue;
            }
            if (word.kind == Word::Kind::kDimension)
            {
                require(word, static_cast<int64_t>(count), inputs[word.first].nbDims);
                stack.push_back(inputs[word.first].d[word.second]);
                continue;
            }
            IDimensionExpr const& b = *stack.back();
            stack.pop_back();
            IDimensionExpr const& a = *stack.back();
            switch (word.kind)
            {
            case Word::Kind::kAdd: stack.back() = builder.operation(Op::kSUM, a, b); break;
            case Word::Kind::kMultiply: stack.back() = builder.operation(Op::kPROD, a, b); break;
            case Word::Kind::kDivide: stack.back() = builder.operation(Op::kFLOOR_DIV, a, b); break;
            case Word::Kind::kMaximum: stack.back() = builder.operation(Op::kMAX, a, b); break;
            case Word::Kind::kMinimum: stack.back() = builder.operation(Op::kMIN, a, b); break;
            default:
                stack.back() = builder.operation(
                    Op::kSUB, a, *builder.operation(Op::kPROD, *builder.operation(Op::kFLOOR_DIV, a, b), b));
            }
        }
        return stack.back();
    }

private:
    static Word parse(std::string const& word)
    {
        using Kind = Word::Kind;
        static std::map<std::string, Kind> const operations{{"+", Kind::kAdd}, {"*", Kind::kMultiply},
            {"/", Kind::kDivide}, {"%", Kind::kRemainder}, {"max", Kind::kMaximum}, {"min", Kind::kMinimum}};
        auto const found = operations.find(word);
        if (found != operations.end())
        {
            return {found->second, 0, 0};
        }
        if (word[0] == 'd')
        {
            size_t const comma = word.find(',');
            if (comma == std::string::npos)
            {
                throw std::runtime_error("a size that is no expression: " + word);
            }
            return {Kind::kDimension, std::stoll(word.substr(1, comma - 1)), std::stoll(word.substr(comma + 1))};
        }
        return {Kind::kNumber, std::stoll(word), 0};
    }

    static void require(Word const& word, int64_t inputs, int64_t rank)
    {
        if (word.first < 0 || word.first >= inputs || word.second < 0 || word.second >= rank)
        {
            throw std::runtime_error("a size of an input that is not there");
        }
    }

    static int64_t compute(Word::Kind kind, int64_t a, int64_t b)
    {
        switch (kind)
        {
        case Word::Kind::kAdd: return a + b;
        case Word::Kind::kMultiply: return a * b;
        case Word::Kind::kDivide: return floorDivide(a, b);
        case Word::Kind::kMaximum: return std::max(a, b);
        case Word::Kind::kMinimum: return std::min(a, b);
        default: return a - floorDivide(a, b) * b;
        }
    }

    std::vector<Word> mWords;
};

// --- what is launched

DataType typeOf(std::string const& name)
{
    static std::map<std::string, DataType> const types{{"float32", DataType::kFLOAT}, {"float16", DataType::kHALF},
        {"int8", DataType::kINT8}, {"int32", DataType::kINT32}, {"bool", DataType::kBOOL},
#if NV_TENSORRT_MAJOR >= 10
        {"bfloat16", DataType::kBF16}, {"int64", DataType::kINT64},
#endif
    };
    auto const found = types.find(name);
    if (found == types.end())
    {
        throw std::runtime_error("this TensorRT has no kernels of " + name);
    }
    return found->second;
}

struct Argument
{
    std::string type;
    Size size;
    double number;
};

struct Output
{
    DataType type;
    std::vector<Size> shape;
};

void expect(std::istream& text, char const* wanted)
{
    std::string word;
    if (!(text >> word) || word != wanted)
    {
        throw std::runtime_error(std::string("the launch of a kernel lacks ") + wanted);
    }
}

size_t count(std::istream& text)
{
    int64_t number = -1;
    if (!(text >> number) || number < 0 || number > 1024)
    {
        throw std::runtime_error("the launch of a kernel has no count");
    }
    return static_cast<size_t>(number);
}

//! The whole of one number, written into 8 bytes as the kernel takes it.
void write(Argument const& argument, PluginTensorDesc const* inputs, size_t count, void* to)
{
    auto const put = [to](auto value) { std::memcpy(to, &value, sizeof(value)); };
    if (argument.type == "float")
    {
        return put(static_cast<float>(argument.number));
    }
    if (argument.type == "double")
    {
        return put(argument.number);
    }
    int64_t const number = argument.size.at(inputs, count);
    if (argument.type == "int64")
    {
        return put(number);
    }
    bool const isSigned = argument.type == "int32";
    int64_t const most = isSigned ? std::numeric_limits<int32_t>::max()
                                  : argument.type == "bool" ? 1 : std::numeric_limits<uint32_t>::max();
    if (number > most || number < (isSigned ? std::numeric_limits<int32_t>::min() : 0))
    {
        throw std::runtime_error("an argument does not fit its type: " + std::to_string(number));
    }
    argument.type == "bool" ? put(static_cast<bool>(number)) : put(static_cast<uint32_t>(number));
}

struct Launch
{
    std::string function;
    std::vector<DataType> inputs;
    std::vector<Output> outputs;
    std::vector<Size> grid;
    std::vector<Size> block;
    std::vector<Size> shared;
    std::vector<Argument> arguments;

    explicit Launch(std::string const& written)
    {
        std::istringstream text(written);
        expect(text, "trtnet-kernel");
        expect(text, "1");
        text >> function;
        expect(text, "inputs");
        std::string word;
        for (size_t left = count(text); left > 0; --left)
        {
            text >> word;
            inputs.push_back(typeOf(word));
        }
        expect(text, "outputs");
        for (size_t left = count(text); left > 0; --left)
        {
            text >> word;
            outputs.push_back({typeOf(word), sizes(text, count(text))});
        }
        expect(text, "grid");
        grid = sizes(text, 3);
        expect(text, "block");
        block = sizes(text, 3);
        expect(text, "shared");
        shared = sizes(text, 1);
        expect(text, "arguments");
        for (size_t left = count(text); left > 0; --left)
        {
            Argument one{};
            text >> one.type;
            if (one.type == "float" || one.type == "double")
            {
                text >> word;
                one.number = std::stod(word);
            }
            else
            {
                one.size = Size::read(text);
            }
            arguments.push_back(one);
        }
    }

    static std::vector<Size> sizes(std::istream& text, size_t count)
    {
        std::vector<Size> made;
        for (; count > 0; --count)
        {
            made.push_back(Size::read(text));
        }
        return made;
    }
};

//! The code in each CUDA context that it was used in; shared by the clones of a plugin.
class Code
{
public:
    Code(std::string bytes, std::string function)
        : mBytes(std::move(bytes))
        , mFunction(std::move(function))
    {
    }

    Code(Code const&) = delete;
    Code& operator=(Code const&) = delete;

    ~Code()
    {
        for (auto const& one : mLoaded)
        {
            Driver::get().unloadModule(one.second.module);
        }
    }

    std::string const& bytes() const
    {
        return mBytes;
    }

    //! The function in the context of the calling thread.
    void* function()
    {
        Driver const& driver = Driver::get();
        void* context = nullptr;
        driver.check(driver.getContext(&context), "cuCtxGetCurrent");
        std::lock_guard<std::mutex> const lock(mMutex);
        auto const found = mLoaded.find(context);
        if (found != mLoaded.end())
        {
            return found->second.function;
        }
        Loaded made{};
        driver.check(driver.loadModule(&made.module, mBytes.data()), "cuModuleLoadData");
        driver.check(driver.getFunction(&made.function, made.module, mFunction.c_str()), mFunction.c_str());
        mLoaded.emplace(context, made);
        return made.function;
    }

private:
    struct Loaded
    {
        void* module;
        void* function;
    };
    std::string mBytes;
    std::string mFunction;
    std::mutex mMutex;
    std::map<void*, Loaded> mLoaded;
};

void report(std::exception const& error)
{
    std::fprintf(stderr, "trtnet kernel: %s\n", error.what());
}

class KernelPlugin final : public IPluginV2DynamicExt
{
public:
    KernelPlugin(std::string written, std::string code)
        : mWritten(std::move(written))
        , mLaunch(std::make_shared<Launch const>(mWritten))
        , mCode(std::make_shared<Code>(std::move(code), mLaunch->function))
    {
    }

    KernelPlugin(KernelPlugin const&) = default;

    IPluginV2DynamicExt* clone() const noexcept override
    {
        return new KernelPlugin(*this);
    }

    DimsExprs getOutputDimensions(
        int32_t index, DimsExprs const* inputs, int32_t count, IExprBuilder& builder) noexcept override
    {
        DimsExprs made{};
        try
        {
            std::vector<Size> const& shape = mLaunch->outputs.at(static_cast<size_t>(index)).shape;
            made.nbDims = static_cast<int32_t>(shape.size());
            for (size_t i = 0; i < shape.size(); ++i)
            {
                made.d[i] = shape[i].of(inputs, static_cast<size_t>(count), builder);
            }
        }
        catch (std::exception const& error)
        {
            report(error);
        }
        return made;
    }

    bool supportsFormatCombination(
        int32_t position, PluginTensorDesc const* all, int32_t inputs, int32_t outputs) noexcept override
    {
        size_t const at = static_cast<size_t>(position);
        if (static_cast<size_t>(inputs) != mLaunch->inputs.size()
            || static_cast<size_t>(outputs) != mLaunch->outputs.size())
        {
            return false;
        }
        DataType const wanted
            = position < inputs ? mLaunch->inputs[at] : mLaunch->outputs[at - mLaunch->inputs.size()].type;
        return all[at].format == TensorFormat::kLINEAR && all[at].type == wanted;
    }

    void configurePlugin(
        DynamicPluginTensorDesc const*, int32_t, DynamicPluginTensorDesc const*, int32_t) noexcept override
    {
    }

    size_t getWorkspaceSize(
        PluginTensorDesc const*, int32_t, PluginTensorDesc const*, int32_t) const noexcept override
    {
        return 0;
    }

    int32_t enqueue(PluginTensorDesc const* described, PluginTensorDesc const*, void const* const* inputs,
        void* const* outputs, void*, cudaStream_t stream) noexcept override
    {
        try
        {
            launch(described, inputs, outputs, stream);
            return 0;
        }
        catch (std::exception const& error)
        {
            report(error);
            return 1;
        }
    }

    DataType getOutputDataType(int32_t index, DataType const*, int32_t) const noexcept override
    {
        return mLaunch->outputs[static_cast<size_t>(index)].type;
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
        return static_cast<int32_t>(mLaunch->outputs.size());
    }

    int32_t initialize() noexcept override
    {
        try
        {
            mCode->function(); // now, and not in a stream that is being captured
            return 0;
        }
        catch (std::exception const& error)
        {
            report(error);
            return 1;
        }
    }

    void terminate() noexcept override {}

    size_t getSerializationSize() const noexcept override
    {
        return sizeof(uint64_t) + mWritten.size() + mCode->bytes().size();
    }

    void serialize(void* buffer) const noexcept override
    {
        char* to = static_cast<char*>(buffer);
        uint64_t const length = mWritten.size();
        std::memcpy(to, &length, sizeof(length));
        std::memcpy(to + sizeof(length), mWritten.data(), mWritten.size());
        std::memcpy(to + sizeof(length) + mWritten.size(), mCode->bytes().data(), mCode->bytes().size());
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
    void launch(PluginTensorDesc const* described, void const* const* inputs, void* const* outputs, cudaStream_t stream)
    {
        Launch const& how = *mLaunch;
        size_t const count = how.inputs.size();
        unsigned sizes[7];
        int at = 0;
        for (std::vector<Size> const* group : {&how.grid, &how.block, &how.shared})
        {
            for (Size const& one : *group)
            {
                int64_t const number = one.at(described, count);
                if (number < 0 || number > std::numeric_limits<int32_t>::max())
                {
                    throw std::runtime_error("no size of a grid or a block: " + std::to_string(number));
                }
                sizes[at++] = static_cast<unsigned>(number);
            }
        }
        if (sizes[0] == 0 || sizes[1] == 0 || sizes[2] == 0)
        {
            return; // nothing to compute
        }
        size_t const tensors = count + how.outputs.size();
        std::vector<uint64_t> values(tensors + how.arguments.size());
        std::vector<void*> addresses;
        for (size_t i = 0; i < values.size(); ++i)
        {
            if (i < tensors)
            {
                void const* const tensor = i < count ? inputs[i] : outputs[i - count];
                std::memcpy(&values[i], &tensor, sizeof(tensor));
            }
            else
            {
                write(how.arguments[i - tensors], described, count, &values[i]);
            }
            addresses.push_back(&values[i]);
        }
        Driver const& driver = Driver::get();
        void* const function = mCode->function();
        if (sizes[6] > 48U << 10)
        {
            constexpr int kMaxDynamicSharedBytes = 8;
            driver.check(
                driver.setAttribute(function, kMaxDynamicSharedBytes, static_cast<int>(sizes[6])), "shared memory");
        }
        driver.check(driver.launch(function, sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], sizes[6],
                         stream, addresses.data(), nullptr),
            how.function.c_str());
    }

    std::string mWritten;
    std::shared_ptr<Launch const> mLaunch;
    std::shared_ptr<Code> mCode;
    std::string mNamespace;
};

class KernelCreator final : public IPluginCreator
{
public:
    KernelCreator()
    {
        mFields.emplace_back("launch", nullptr, PluginFieldType::kCHAR, 1);
        mFields.emplace_back("code", nullptr, PluginFieldType::kCHAR, 1);
        mCollection.nbFields = static_cast<int32_t>(mFields.size());
        mCollection.fields = mFields.data();
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
        return &mCollection;
    }

    IPluginV2* createPlugin(char const*, PluginFieldCollection const* given) noexcept override
    {
        std::string launch;
        std::string code;
        for (int32_t i = 0; i < given->nbFields; ++i)
        {
            PluginField const& field = given->fields[i];
            std::string const name = field.name;
            if (name == "launch" || name == "code")
            {
                (name == "launch" ? launch : code)
                    .assign(static_cast<char const*>(field.data), static_cast<size_t>(field.length));
            }
        }
        return make(std::move(launch), std::move(code));
    }

    IPluginV2* deserializePlugin(char const*, void const* data, size_t length) noexcept override
    {
        char const* const from = static_cast<char const*>(data);
        uint64_t words = 0;
        if (length < sizeof(words))
        {
            return nullptr;
        }
        std::memcpy(&words, from, sizeof(words));
        if (words > length - sizeof(words))
        {
            return nullptr;
        }
        char const* const text = from + sizeof(words);
        return make(std::string(text, words), std::string(text + words, from + length));
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
    IPluginV2* make(std::string launch, std::string code) const
    {
        try
        {
            auto made = std::unique_ptr<KernelPlugin>(new KernelPlugin(std::move(launch), std::move(code)));
            made->setPluginNamespace(mNamespace.c_str());
            return made.release();
        }
        catch (std::exception const& error)
        {
            report(error);
            return nullptr;
        }
    }

    std::vector<PluginField> mFields;
    PluginFieldCollection mCollection{};
    std::string mNamespace;
};

KernelCreator& theCreator()
{
    static KernelCreator creator;
    return creator;
}

} // namespace

extern "C" IPluginRegistry* getPluginRegistry() noexcept __attribute__((weak)); // none where TensorRT loads this itself

namespace
{

bool const kIsRegistered = getPluginRegistry != nullptr && getPluginRegistry()->registerCreator(theCreator(), "");

} // namespace

#define TRTNET_EXPORT extern "C" __attribute__((visibility("default")))

TRTNET_EXPORT void setLoggerFinder(ILoggerFinder*) {}

TRTNET_EXPORT IPluginCreator* const* getPluginCreators(int32_t& count)
{
    static IPluginCreator* const creators[]{&theCreator()};
    count = 1;
    return creators;
}
