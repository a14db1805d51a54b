from tests.evaluation.conftest import finished

__all__ = ["finished"]
