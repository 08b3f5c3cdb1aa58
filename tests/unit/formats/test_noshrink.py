from hypothesis import settings, Phase
import tests.unit.formats.test_ccddata_wcs as m
from tests.unit.formats.conftest import *
S=settings(phases=[Phase.generate],max_examples=60,derandomize=True,deadline=None)
test_a=S(m.test_any_header_is_given_back_with_the_wcs_that_astropy_reads)
test_b=S(m.test_any_wcs_is_given_back_beside_any_header_or_refused)
