# The files of the Metal backend, for the add-on on Apple machines and for the emulation elsewhere.
set(KVFOLD_METAL_SOURCES backend.cc device.mm cache.cc fold_prepare.cc fold_compute.cc fold_commit.cc values.cc
  head_attention.cc attend.cc ridge.cc fit.cc read.cc
  rope_shift.cc)
