"""The self-test's laboratory: pictures with known answers, a model that can be told how to be wrong, and faults by name.

    scene.py        pictures of coloured blobs with exact boxes
    spec.py         what the analytic model is: the JSON that stands in for a model file
    detector.py     tensor -> blobs, strictly under that specification
    renderers/      blobs -> the output tensors of a head family
    tail.py         what an export, a quantiser or a runtime does to outputs
    quantise.py     int8 arithmetic
    analytic.py     the above as a camagent backend, found by entry point `analytic`
    rig.py          what is under test: the right contract, the deployed one, pictures
    referee.py      whether all is seen that should be, and whether a proposed change brings it back
    draw.py         healthy rigs by seed
    health.py       healthy rigs that look as if something were wrong
    real.py         rigs of three small networks that nobody here made
    inject/         one function per cause of the catalogue: rig -> faulty rig

Nothing here may import the self-test, and the two share no constant: a test holds them apart.
"""
