"""Lesson 2."""

RIGHT = r"""def write(network, image):
    x = network.add_convolution_nd(image, 20, (5, 5), weights["conv1.weight"], weights["conv1.bias"]).get_output(0)
    pool = network.add_pooling_nd(x, trt.PoolingType.MAX, (2, 2))
    pool.stride_nd = (2, 2)
    x = pool.get_output(0)
    x = network.add_convolution_nd(x, 50, (5, 5), weights["conv2.weight"], weights["conv2.bias"]).get_output(0)
    pool = network.add_pooling_nd(x, trt.PoolingType.MAX, (2, 2))
    pool.stride_nd = (2, 2)
    flat = network.add_shuffle(pool.get_output(0))
    flat.reshape_dims = (1, 800)
    x = linear(network, flat.get_output(0), "fc1", 500)
    x = network.add_activation(x, trt.ActivationType.RELU).get_output(0)
    x = linear(network, x, "fc2", 10)
    softmax = network.add_softmax(x)
    softmax.axes = 1 << 1
    return softmax.get_output(0)


def linear(network, x, name, outputs):
    matrix = network.add_constant((outputs, x.shape[1]), weights[f"{name}.weight"]).get_output(0)
    product = network.add_matrix_multiply(x, trt.MatrixOperation.NONE, matrix, trt.MatrixOperation.TRANSPOSE)
    bias = network.add_constant((1, outputs), weights[f"{name}.bias"]).get_output(0)
    return network.add_elementwise(product.get_output(0), bias, trt.ElementWiseOperation.SUM).get_output(0)
"""

WRONG = [
    (RIGHT.replace("    return softmax.get_output(0)\n", ""), "is there a return?"),
    (RIGHT.replace("    softmax.axes = 1 << 1\n", ""), "softmax"),
    (RIGHT.replace('weights[f"{name}.bias"]', 'weights["conv2.bias"]'), "after 10 layers"),
    (RIGHT.replace("trt.ActivationType.RELU", "trt.ActivationType.TANH"), "activation TANH"),
]
