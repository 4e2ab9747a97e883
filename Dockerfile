# The card's image with this project in /nima. Not built here: no Ascend image can be had without an account.
#     docker build -t nima .                                             # an ARM host
#     docker build -t nima --build-arg FROM_IMAGE_NAME=ascend-tensorflow-x86:20.2.0 .
# The name of the image is the one that your Ascend Hub page gives. bash docker_start.sh starts a container of it.
ARG FROM_IMAGE_NAME=ascend-tensorflow-arm:20.2.0
FROM ${FROM_IMAGE_NAME}

# TensorFlow, NumPy, SciPy, h5py and protobuf are the image's own; these two are the convenience of requirements.txt.
RUN python3 -m pip install --no-cache-dir 'Pillow<10' 'tqdm<5'

WORKDIR /nima
COPY . .

CMD ["/bin/bash"]
