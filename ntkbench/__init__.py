"""ntkbench: which claims about the Neural Tangent Kernel hold, in which range, and how sure are we?"""

__version__ = "0.1.0"
