"""Networks written as a user of trtnet would write them, and the scripts that train them.

NETWORKS is what `trtnet models` lists, and what the command line takes as models/NAME. The counts of parameters are
those of torchvision's documentation and of transformers' and diffusers' checkpoints.
"""

from typing import NamedTuple


class Network(NamedTuple):
    """What makes it (file:class, or file:function), what it is, its inputs as `--input` takes them, its parameters."""

    made_by: str
    what: str
    inputs: str
    parameters: int


NETWORKS = {
    "lenet": Network("lenet:LeNet", "digits; trained weights: weights/", "image=1x1x28x28", 431_080),
    "alexnet": Network("alexnet:AlexNet", "image classification", "image=1x3x224x224", 61_100_840),
    "vgg16": Network("vgg:vgg16", "image classification", "image=1x3x224x224", 138_357_544),
    "squeezenet": Network(
        "squeezenet:SqueezeNet", "image classification: SqueezeNet 1.1", "image=1x3x224x224", 1_235_496
    ),
    "googlenet": Network("googlenet:googlenet", "image classification", "image=1x3x224x224", 6_624_904),
    "inception_v3": Network("inception:InceptionV3", "image classification", "image=1x3x299x299", 23_834_568),
    "resnet18": Network("resnet:resnet18", "image classification", "image=1x3x224x224", 11_689_512),
    "resnet34": Network("resnet:resnet34", "image classification", "image=1x3x224x224", 21_797_672),
    "resnet50": Network("resnet:resnet50", "image classification", "image=1x3x224x224", 25_557_032),
    "mobilenet_v2": Network("mobilenet:MobileNetV2", "image classification", "image=1x3x224x224", 3_504_872),
    "mobilenet_v3_small": Network("mobilenet:MobileNetV3", "image classification", "image=1x3x224x224", 2_542_856),
    "densenet121": Network("densenet:densenet121", "image classification", "image=1x3x224x224", 7_978_856),
    "efficientnet_b0": Network("efficientnet:EfficientNet", "image classification", "image=1x3x224x224", 5_288_548),
    "convnext_tiny": Network("convnext:ConvNeXt", "image classification", "image=1x3x224x224", 28_589_128),
    "vit_b_16": Network(
        "vision_transformer:VisionTransformer", "image classification", "image=1x3x224x224", 86_567_656
    ),
    "swin_t": Network("swin:SwinTransformer", "image classification", "image=1x3x224x224", 28_288_354),
    "retinanet": Network("retinanet:RetinaNet", "objects in images, on ResNet-50", "image=1x3x800x800", 34_068_119),
    "yolo": Network("yolo:YOLO", "objects in images, in YOLOv8n's form", "image=1x3x640x640", 3_157_184),
    "unet": Network("unet:UNet", "image segmentation", "image=1x3x256x256", 31_037_698),
    "ddpm": Network(
        "ddpm:UNet2D", "pictures out of noise: DDPM's U-Net", "sample=1x3x32x32 timestep=1:int64", 35_746_307
    ),
    "pointnet": Network("pointnet:PointNet", "classification of point clouds", "points=1x3x1024", 1_614_129),
    "wavenet": Network("wavenet:WaveNet", "sound, sample by sample", "samples=1x8192:int64", 686_336),
    "character_lstm": Network(
        "character_lstm:CharacterLSTM", "text, letter by letter; trained weights: weights/", "text=1x64:int64", 53_790
    ),
    "bert": Network(
        "bert:BERT", "text: BERT-base", "tokens=1x128:int64 types=1x128:int64 mask=1x128:int64", 109_482_240
    ),
    "gpt2": Network("gpt2:GPT2", "text: GPT-2 small", "tokens=1x128:int64", 124_439_808),
    "llama": Network("llama:Llama", "text: a small Llama", "tokens=1x128:int64", 1_498_482_688),
    "katago": Network("katago:KataGo", "Go", "input_spatial=1x22x19x19 input_global=1x19", 1_004_333),
    "nature_dqn": Network("atari:NatureDQN", "Atari games", "frames=1x4x84x84", 1_693_362),
    "impala": Network("atari:Impala", "Atari games", "frames=1x4x84x84", 1_094_115),
}
